"""Decoding of every kind of picture, and the preprocessing contract."""

import contextlib
import io
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ppcls_sspcab.errors import ConfigError, DataError, UserError
from ppcls_sspcab.image.decode import ImageError, decode, decode_mask
from ppcls_sspcab.image.preprocess import Preprocess

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_rgb_from_path_bytes_stream_and_array(tmp_path):
    content = encoded(Image.fromarray(RGB))
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for source in (path, str(path), content, io.BytesIO(content), RGB):
        np.testing.assert_array_equal(decode(source), RGB)
    with path.open("rb") as file:
        np.testing.assert_array_equal(decode(file), RGB)


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "WEBP", "PPM"])
def test_lossless_formats(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(RGB), kind, **options)), RGB)


def test_grey_becomes_three_equal_channels():
    grey = RGB[:, :, 0]
    decoded = decode(encoded(Image.fromarray(grey)))
    np.testing.assert_array_equal(decoded, np.stack([grey] * 3, -1))
    np.testing.assert_array_equal(decode(grey), decoded)
    np.testing.assert_array_equal(decode(grey[:, :, None]), decoded)


def test_one_bit_is_black_and_white():
    bits = RGB[:, :, 0] > 127
    decoded = decode(encoded(Image.fromarray(RGB[:, :, 0]).point(lambda v: 255 * (v > 127), "1")))
    np.testing.assert_array_equal(decoded[:, :, 1], bits * np.uint8(255))


def test_alpha_is_dropped_and_nothing_blended():
    alpha = np.full((5, 7, 1), 10, np.uint8)
    rgba = np.concatenate([RGB, alpha], -1)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(rgba))), RGB)
    np.testing.assert_array_equal(decode(rgba), RGB)
    grey_alpha = Image.fromarray(np.concatenate([RGB[:, :, :1], alpha], -1), "LA")
    np.testing.assert_array_equal(decode(encoded(grey_alpha))[:, :, 2], RGB[:, :, 0])


def test_palette_with_and_without_transparency():
    palette = Image.fromarray(RGB).quantize(256)
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(decode(encoded(palette)), expected)
    with_clear = decode(encoded(palette, transparency=bytes(range(256))))
    np.testing.assert_array_equal(with_clear, expected)


def test_cmyk_jpeg_is_rgb():
    decoded = decode(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert decoded.shape == (8, 8, 3)
    assert decoded[4, 4, 0] > 200 and decoded[4, 4, 1] < 60


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_the_high_byte(kind):
    deep = (RGB[:, :, 0].astype(np.uint16) << 8) + 77
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(deep), kind))[:, :, 0], deep >> 8)


def test_thirty_two_bit_grey_is_read_as_sixteen_or_refused():
    deep = RGB[:, :, 0].astype(np.int32) * 257
    np.testing.assert_array_equal(
        decode(encoded(Image.fromarray(deep), "TIFF"))[:, :, 0], RGB[:, :, 0]
    )
    with pytest.raises(ImageError, match="16 bit"):
        decode(encoded(Image.fromarray(deep * 2 + 65536), "TIFF"))


@pytest.mark.parametrize(
    "orientation, undo",
    [
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, 1)),
        (8, lambda a: np.rot90(a, -1)),
    ],
)
def test_exif_orientation_is_applied(orientation, undo):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(np.ascontiguousarray(undo(RGB))), exif=exif)
    np.testing.assert_array_equal(decode(content), RGB)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_several_pages_are_refused_as_picture_and_mask(kind):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue", "green")]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    for read in (decode, decode_mask):
        with pytest.raises(ImageError, match="holds 3 pages"):
            read(content)
    alone = encoded(frames[0], kind, save_all=True, **options)
    assert decode(alone)[0, 0].tolist() == [255, 0, 0]


def test_smaller_copies_in_a_tiff_and_a_cameras_additions_are_no_pages(tmp_path):
    preview = Image.fromarray(RGB[::2, ::2])
    preview.encoderinfo = {"tiffinfo": {254: 1}}
    content = encoded(Image.fromarray(RGB), "TIFF", save_all=True, append_images=[preview])
    with Image.open(io.BytesIO(content)) as read:
        assert read.n_frames == 2
    np.testing.assert_array_equal(decode(content), RGB)
    flat = Image.new("RGB", (16, 16), (200, 30, 30))
    Image.Image.save(flat, tmp_path / "a.jpg", "MPO", save_all=True, append_images=[flat])
    with Image.open(tmp_path / "a.jpg") as read:
        assert (read.format, read.n_frames) == ("MPO", 2)
    assert decode(tmp_path / "a.jpg").shape == (16, 16, 3)


@pytest.mark.parametrize("deep", [np.uint8, np.uint16])
def test_mask_is_whatever_is_above_zero(deep):
    values = np.array([[0, 1, 255], [0, 0, 7]], deep)
    np.testing.assert_array_equal(decode_mask(encoded(Image.fromarray(values)))[0], values > 0)


def test_mask_in_colour_palette_or_bits():
    red = np.zeros((2, 3, 3), np.uint8)
    red[0, 1] = (9, 0, 0)
    picture = Image.fromarray(red)
    for kind in (picture, picture.quantize(4), picture.convert("RGBA"), picture.convert("L")):
        np.testing.assert_array_equal(decode_mask(encoded(kind))[0], red[:, :, 0] > 0)
    bits = Image.fromarray(red[:, :, 0]).point(lambda v: 255 * (v > 0), "1")
    np.testing.assert_array_equal(decode_mask(encoded(bits))[0], red[:, :, 0] > 0)


@pytest.fixture
def broken(tmp_path):
    """One path for each way in which a picture can be no picture."""
    large = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(large))
    jpeg = encoded(Image.fromarray(large), "JPEG")
    (tmp_path / "truncated.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "truncated.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (tmp_path / "header.png").write_bytes(content[:20])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "html.png").write_text("<html>404 not found</html>")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "float.tif").write_bytes(
        encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF")
    )
    return [*sorted(tmp_path.iterdir()), tmp_path / "absent.png", tmp_path / "nul\0.png"]


def test_unreadable_pictures_raise_image_error_with_their_path(broken):
    for path in broken:
        with pytest.raises(ImageError) as caught:
            decode(path)
        assert str(path) in str(caught.value)
        assert isinstance(caught.value, DataError)


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"abc",
        None,
        3,
        RGB.astype(np.float32),
        RGB[None],
        RGB[:0],
        np.zeros((4, 4, 2), np.uint8),
        io.StringIO("text"),
    ],
)
def test_what_is_no_picture_raises_image_error(source):
    with pytest.raises(ImageError):
        decode(source)


def test_a_picture_that_vanishes_while_it_is_opened_does_not_exist(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(RGB)))
    look = type(path).stat

    def look_and_lose(self, **options):
        status = look(self, **options)
        if self == path:
            path.unlink(missing_ok=True)
        return status

    monkeypatch.setattr(type(path), "stat", look_and_lose)
    with pytest.raises(ImageError, match=r"a\.png: does not exist"):
        decode(path)


def test_decompression_bomb_is_refused():
    content = encoded(Image.new("1", (14000, 13000)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ImageError):
            decode(content)


@given(st.binary(max_size=60), st.integers(0, 200))
def test_damaged_files_never_raise_anything_else(noise, position):
    content = bytearray(encoded(Image.fromarray(RGB)))
    content[position : position + len(noise)] = noise
    with contextlib.suppress(ImageError):
        assert decode(bytes(content)).dtype == np.uint8


def test_resize_takes_height_before_width():
    flat = np.zeros((10, 20, 3), np.uint8)
    flat[:, 10:] = 200
    for interpolation in ("nearest", "bilinear", "bicubic", "lanczos", "area"):
        resized = Preprocess((6, 16), interpolation).resize(flat)
        assert resized.shape == (6, 16, 3)
        assert resized[:, 0].max() == 0 and resized[:, -1].min() == 200


def test_area_is_the_mean_of_the_pixels_below():
    resized = Preprocess((4, 5), "area").resize(np.repeat(np.repeat(RGB[:4, :5], 2, 0), 2, 1))
    np.testing.assert_array_equal(resized, RGB[:4, :5])


def test_normalize_is_the_formula():
    contract = Preprocess((5, 7), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    images = np.stack([RGB, 255 - RGB])
    expected = (images / 255.0 - [0.1, 0.2, 0.3]) / [0.4, 0.5, 0.6]
    result = contract.normalize(images)
    assert result.dtype == np.float32 and result.flags.c_contiguous
    np.testing.assert_allclose(result, expected.transpose(0, 3, 1, 2), atol=1e-6)


def test_call_is_decode_resize_normalize():
    contract = Preprocess((4, 6))
    batch = contract([RGB, encoded(Image.fromarray(RGB))])
    assert batch.shape == (2, 3, 4, 6)
    np.testing.assert_array_equal(batch[0], batch[1])
    np.testing.assert_array_equal(batch[0], contract.normalize(contract.load(RGB)[None])[0])
    assert contract([]).shape == (0, 3, 4, 6)


def test_dict_round_trip():
    contract = Preprocess([32, 48], "bicubic", [0.5, 0.5, 0.5], [0.25, 0.25, 0.25])
    values = contract.to_dict()
    assert values["image_size"] == [32, 48]
    assert Preprocess.from_dict(values) == contract
    assert Preprocess.from_dict({}) == Preprocess()
    assert hash(contract) == hash(Preprocess.from_dict(values))


@pytest.mark.parametrize(
    "values, named",
    [
        ({"image_size": 256}, "image_size"),
        ({"image_size": [256]}, "image_size"),
        ({"image_size": [0, 256]}, "image_size"),
        ({"image_size": [12.5, 256]}, "image_size"),
        ({"image_size": [True, 256]}, "image_size"),
        ({"interpolation": "bilinaer"}, "bilinear"),
        ({"mean": [123.7, 116.3, 103.5]}, "mean"),
        ({"mean": [0.5, 0.5]}, "mean"),
        ({"std": [0.0, 0.2, 0.2]}, "std"),
        ({"std": [float("nan"), 0.2, 0.2]}, "std"),
        ({"size": [4, 4]}, "size"),
    ],
)
def test_wrong_values_are_user_errors(values, named):
    with pytest.raises(UserError, match=named) as caught:
        Preprocess.from_dict(values)
    assert isinstance(caught.value, ConfigError)


def test_runtime_loads_neither_paddle_nor_sklearn():
    code = (
        "import sys, ppcls_sspcab.runtime.predictor; "
        "sys.exit(any(n in sys.modules for n in ('paddle', 'sklearn', 'matplotlib', 'paddleclas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
