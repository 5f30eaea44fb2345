"""Random pictures, whole and spoilt, by hypothesis: what ``test_fuzzing.py`` and the soak run."""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ppcls_sspcab.image.decode import ImageError, decode
from ppcls_sspcab.image.preprocess import Preprocess

# What each format can hold; "F", which has no white, only TIFF can.
MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "BMP": ("1", "L", "P", "RGB"),
    "TIFF": ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "LAB", "YCbCr"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("L", "P"),
    "PPM": ("L", "RGB"),
}
EXACT = ("L", "RGB", "RGBA")
LOSSLESS = ("PNG", "BMP", "TIFF", "PPM")
CONTRACT = Preprocess(image_size=(8, 8), white="full")

sizes = st.one_of(st.integers(1, 40), st.sampled_from([1, 127, 128, 257]))
kinds = st.sampled_from([(form, mode) for form, modes in MODES.items() for mode in modes])


@st.composite
def pictures(draw: Any) -> tuple[bytes, str, str, np.ndarray]:
    """A picture's file, its format and mode, and its pixels uint8 [H, W, 3] before encoding."""
    form, mode = draw(kinds)
    width, height = draw(sizes), draw(sizes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(pixels)
    if mode in ("I;16", "F"):
        image = Image.fromarray(pixels[:, :, 0].astype(np.uint16 if mode == "I;16" else np.float32))
    else:
        if mode == "L":
            pixels = np.repeat(pixels[:, :, :1], 3, axis=2)
            image = Image.fromarray(pixels[:, :, 0])
        image = image.convert(mode) if image.mode != mode else image
    options = {"exif": exif(draw(st.integers(1, 8)))} if form in ("JPEG", "PNG", "WEBP") else {}
    if form == "GIF" or (form == "PNG" and draw(st.booleans())):
        options |= {"save_all": True, "append_images": [image]}
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue(), form, mode, pixels


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


@st.composite
def spoilt(draw: Any) -> bytes:
    """A picture's file with bytes cut off, changed, put in or taken out; or no picture at all."""
    content, *_ = draw(pictures())
    content = bytearray(content)
    how = draw(st.sampled_from(["cut", "change", "insert", "remove", "header", "noise"]))
    place = draw(st.integers(0, len(content) - 1))
    if how == "cut":
        del content[place:]
    elif how == "change":
        for _ in range(draw(st.integers(1, 8))):
            content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    elif how == "insert":
        content[place:place] = draw(st.binary(min_size=1, max_size=64))
    elif how == "remove":
        del content[place : place + draw(st.integers(1, 64))]
    elif how == "header":
        content[8:] = draw(st.binary(max_size=200))
    else:
        content = bytearray(draw(st.binary(max_size=300)))
    return bytes(content)


def fuzz_pictures(cases: int) -> int:
    """Tries so many files, half of them whole; returns how many were refused.

    Raises:
        AssertionError: wrong pixels, or an error that does not name the file.
    """
    refused = 0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a picture's “name” 图.png")

        def load(content: bytes) -> np.ndarray | None:
            nonlocal refused
            Path(path).write_bytes(content)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found, resized = decode(path), CONTRACT.load(path)
            except ImageError as error:
                assert str(error).startswith(f"{path}: ") and error.reason
                refused += 1
                return None
            assert found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] == 3
            assert resized.shape == (8, 8, 3)
            assert np.isfinite(CONTRACT.normalize(resized[None])).all()
            return found

        few = settings(
            max_examples=max(1, cases // 2),
            deadline=None,
            database=None,
            derandomize=cases <= 3000,
            suppress_health_check=list(HealthCheck),
        )

        @few
        @given(pictures())
        def whole(picture: tuple[bytes, str, str, np.ndarray]) -> None:
            content, form, mode, pixels = picture
            found = load(content)
            with Image.open(io.BytesIO(content)) as read:
                pages = getattr(read, "n_frames", 1)
            if mode == "F" or pages > 1:
                assert found is None
                return
            assert found is not None, f"a whole {form} of mode {mode} was refused"
            height, width = pixels.shape[:2]
            assert found.shape[:2] in ((height, width), (width, height))
            if form in LOSSLESS and mode in EXACT:
                # The orientation only moves pixels about.
                assert np.array_equal(np.sort(found, axis=None), np.sort(pixels, axis=None))

        @few
        @given(spoilt())
        def broken(content: bytes) -> None:
            load(content)

        whole()
        broken()
    return refused
