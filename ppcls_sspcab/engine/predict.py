"""Scoring a user's own pictures: what is given becomes paths, what comes out becomes records."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ppcls_sspcab.detector import Detector
from ppcls_sspcab.engine.scoring import chunks, detect, read_ahead
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.runtime.image import EXTENSIONS, ImageError, Preprocess
from ppcls_sspcab.runtime.result import Failure, Result


def find_pictures(inputs: Sequence[str]) -> list[str]:
    """The pictures that files, folders (searched through), globs and ``.txt`` lists stand for.

    A list holds one path a line, relative to the list's folder.

    Raises:
        DataError: an input that stands for nothing.
    """
    paths: list[str] = []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            found = [str(file) for file in sorted(path.rglob("*")) if _is_picture(file)]
            if not found:
                raise DataError(f"{text}: the folder holds no picture ({', '.join(EXTENSIONS)})")
        elif path.suffix.lower() == ".txt" and path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            found = [str(path.parent / line.strip()) for line in lines if line.strip()]
        elif path.exists() or path.is_symlink():
            found = [text]
        else:
            found = sorted(glob.glob(text, recursive=True))
            if not found:
                raise DataError(f"{text}: no such file or folder, and no file matches it")
        paths += found
    return paths


def predict(
    detector: Detector,
    preprocess: Preprocess,
    paths: Sequence[str],
    batch_size: int,
    threshold: float | None = None,
) -> Iterator[Result | Failure]:
    """Scores pictures; one that cannot be read becomes a :class:`Failure` and the rest goes on.

    Args:
        detector: calibrated, in evaluation mode.
        paths: the pictures.
        batch_size: pictures at once.
        threshold: decides instead of the calibrated one; ``normalized_score`` follows it.

    Yields:
        one record a path, in order.
    """
    if threshold is not None:
        detector.threshold.set_value(np.float32(threshold))
    limit = float(detector.threshold)

    def read(batch: Sequence[str]) -> list[np.ndarray | ImageError]:
        return [_load(preprocess, path) for path in batch]

    batches = chunks(paths, batch_size)
    for batch, pictures in zip(batches, read_ahead(batches, read), strict=True):
        good = [picture for picture in pictures if not isinstance(picture, ImageError)]
        scores: Iterator[tuple[float, float]] = iter(())
        if good:
            found = detect(detector, preprocess.normalize(np.stack(good)))
            scores = iter(zip(found["score"], found["normalized_score"], strict=True))
        for path, picture in zip(batch, pictures, strict=True):
            if isinstance(picture, ImageError):
                yield Failure(path, picture.reason)
                continue
            score, normalized_score = map(float, next(scores))
            yield Result(path, score, normalized_score, limit, score > limit)


def _load(preprocess: Preprocess, path: str) -> np.ndarray | ImageError:
    try:
        return preprocess.load(path)
    except ImageError as error:
        return error


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and not path.is_dir()
