"""Pictures as they come from a line, and as they should not: what each must end in is known."""

from __future__ import annotations

import io
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

RNG = np.random.default_rng(3)
PIXELS = RNG.integers(0, 256, (40, 56, 3), np.uint8)
GREY = PIXELS[:, :, 0]


@dataclass(frozen=True)
class Case:
    """A file of the corpus.

    Attributes:
        name: of the file, in the corpus's folder.
        pixels: uint8 [H, W, 3] that must be read; None if the file must be refused.
        reason: a part of the error, if it must.
    """

    name: str
    pixels: np.ndarray | None = None
    reason: str = ""


def write_corpus(folder: Path) -> list[Case]:
    """Writes all files into a new folder and says what each must end in."""
    folder.mkdir(parents=True)
    cases: list[Case] = []

    def readable(name: str, image: Image.Image, pixels: np.ndarray, kind: str, **how: object):
        image.save(folder / name, kind, **how)
        cases.append(Case(name, pixels))

    def refused(name: str, content: bytes, reason: str) -> None:
        (folder / name).write_bytes(content)
        cases.append(Case(name, None, reason))

    rgb = Image.fromarray(PIXELS)
    grey = np.repeat(GREY[:, :, None], 3, axis=2)
    bits = np.where(grey > 127, 255, 0).astype(np.uint8)
    for name in (
        "plain.png",
        "two words.png",
        "quotes ' and \".png",
        "零件.png",
        "line\nfeed.png",
        "[1]*?.png",
        "-o.png",
        "$HOME %s {0}.png",
    ):
        readable(name, rgb, PIXELS, "PNG")
    readable("bitmap named.png", Image.fromarray(GREY), grey, "BMP")
    readable("one bit.png", Image.fromarray(bits[:, :, 0]).convert("1"), bits, "PNG")
    sixteen = Image.fromarray(GREY.astype(np.uint16) * 256 + 7)
    readable("sixteen bit.png", sixteen, grey, "PNG")
    readable("sixteen bit.tif", sixteen, grey, "TIFF")
    inverted = Image.fromarray(np.dstack([255 - PIXELS, np.zeros_like(GREY)]), "CMYK")
    readable("cmyk.tif", inverted, PIXELS, "TIFF")
    tags = Image.Exif()
    tags[0x0112] = 6
    readable("turned.png", rgb, np.rot90(PIXELS, -1), "PNG", exif=tags.tobytes())
    readable("one pixel.png", rgb.crop((0, 0, 1, 1)), PIXELS[:1, :1], "PNG")
    line = RNG.integers(0, 256, (1, 20_000, 3), np.uint8)
    readable(
        "1x20000.png", Image.fromarray(line.transpose(1, 0, 2)), line.transpose(1, 0, 2), "PNG"
    )
    readable("20000x1.png", Image.fromarray(line), line, "PNG")

    whole = (folder / "plain.png").read_bytes()
    refused("cut off.png", whole[: len(whole) // 2], "")
    refused("empty.png", b"", "is empty")
    refused("page.png", b"<!DOCTYPE html><html><body>404</body></html>", "no picture")
    refused("text.jpg", b"not a picture", "no picture")
    refused("bomb.png", bomb(100_000, 100_000), "")
    frames = {"save_all": True, "append_images": [Image.fromarray(255 - PIXELS)]}
    for name, kind in (("animated.png", "PNG"), ("two pages.tif", "TIFF")):
        stream = io.BytesIO()
        rgb.save(stream, kind, **frames)
        refused(name, stream.getvalue(), "holds 2 pages")
    refused("float.tif", tiff_of_floats(), "floating point")
    (folder / "folder.png").mkdir()
    (folder / "link.png").symlink_to(folder / "nowhere.png")
    cases.append(Case("link.png", None, "link to nothing"))
    (folder / "good link.png").symlink_to(folder / "plain.png")
    cases.append(Case("good link.png", PIXELS))
    name = b"no text \xff.png"
    Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(whole)
    cases.append(Case(os.fsdecode(name), PIXELS))
    return cases


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that says it has so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 4096)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def tiff_of_floats() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(GREY.astype(np.float32)).save(stream, "TIFF")
    return stream.getvalue()
