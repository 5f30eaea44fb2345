"""Tiny data sets in the real layouts: each function writes one and returns its root."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (8, 6)  # width, height


def picture(path: Path, value: int = 90, mode: str = "RGB", size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, value, 40)).save(path)
    return path


def mask(path: Path, columns: Iterable[int] = (1, 2), value: int = 255) -> Path:
    """A mask that marks whole columns with ``value``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros(SIZE[::-1], np.uint8)
    pixels[:, list(columns)] = value
    Image.fromarray(pixels).save(path)
    return path


def mvtec(root: Path, categories: Iterable[str] = ("bottle", "cable")) -> Path:
    for category in categories:
        for index in range(5):
            picture(root / category / f"train/good/{index:03d}.png")
        for index in range(2):
            picture(root / category / f"test/good/{index:03d}.png")
            picture(root / category / f"test/hole/{index:03d}.png")
            mask(root / category / f"ground_truth/hole/{index:03d}_mask.png")
        (root / category / "license.txt").write_text("terms")
    (root / "readme.txt").write_text("what this is")
    return root


def mpdd(root: Path) -> Path:
    return mvtec(root, ("bracket_black", "tubes"))


def mvtec_loco(root: Path) -> Path:
    part = root / "breakfast_box"
    for index in range(4):
        picture(part / f"train/good/{index:03d}.png")
    for index in range(2):
        picture(part / f"validation/good/{index:03d}.png")
        picture(part / f"test/good/{index:03d}.png")
        picture(part / f"test/structural_anomalies/{index:03d}.png")
        mask(part / f"ground_truth/structural_anomalies/{index:03d}/000.png", (0,), 250 + index)
    picture(part / "test/logical_anomalies/000.png")
    mask(part / "ground_truth/logical_anomalies/000/000.png", (1,), 1)
    mask(part / "ground_truth/logical_anomalies/000/001.png", (5, 6), 2)
    (part / "defects_config.json").write_text("[]")
    return root


def mvtec_3d(root: Path) -> Path:
    part = root / "bagel"
    for split, kind, count in (
        ("train", "good", 4),
        ("validation", "good", 2),
        ("test", "good", 2),
        ("test", "crack", 2),
    ):
        for index in range(count):
            folder = part / split / kind
            picture(folder / f"rgb/{index:03d}.png")
            (folder / "xyz").mkdir(exist_ok=True)
            (folder / f"xyz/{index:03d}.tiff").write_bytes(b"depth, which is not read")
            if split == "test":
                mask(folder / f"gt/{index:03d}.png", () if kind == "good" else (3,))
    (part / "calibration").mkdir()
    (root / "dowel" / "calibration").mkdir(parents=True)
    return root


def visa(root: Path) -> Path:
    rows = []
    for category in ("candle", "pcb1"):
        data = root / category / "Data"
        for index in range(6):
            path = picture(data / f"Images/Normal/{index:04d}.JPG")
            rows.append((category, "train" if index < 4 else "test", "normal", path, None))
        for index in range(2):
            path = picture(data / f"Images/Anomaly/{index:03d}.JPG")
            marked = mask(data / f"Masks/Anomaly/{index:03d}.png", (4,), 1 + index)
            rows.append((category, "test", "anomaly", path, marked))
    table = root / "split_csv" / "1cls.csv"
    table.parent.mkdir()
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["object", "split", "label", "image", "mask"])
        for category, split, label, path, marked in rows:
            relative = marked.relative_to(root) if marked else ""
            writer.writerow([category, split, label, path.relative_to(root), relative])
    return root


def btad(root: Path) -> Path:
    for category, kind, kind_of_mask in (
        ("01", "bmp", "png"),
        ("02", "png", "png"),
        ("03", "bmp", "bmp"),
    ):
        for index in range(3):
            picture(root / category / f"train/ok/{index:04d}.{kind}")
        for index in range(2):
            picture(root / category / f"test/ok/{index:04d}.{kind}")
            picture(root / category / f"test/ko/{index:04d}.{kind}")
            mask(root / category / f"ground_truth/ko/{index:04d}.{kind_of_mask}")
    return root


def kolektor_sdd(root: Path) -> Path:
    for item in range(1, 6):
        for part in range(3):
            picture(root / f"kos{item:02d}/Part{part}.jpg", mode="L")
            mask(root / f"kos{item:02d}/Part{part}_label.bmp", (2,) if part == item % 3 else ())
    return root
