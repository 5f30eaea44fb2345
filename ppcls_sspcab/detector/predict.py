"""Scoring a user's own pictures with a trained Detector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.detector.run import chunks, detect, read_ahead
from ppcls_sspcab.image.decode import ImageError
from ppcls_sspcab.image.maps import MapWriter
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.result import Failure, Result

Record = Result | Failure
PostProcess = Callable[[Sequence[str], Mapping[str, np.ndarray]], list[Record]]


def predict(
    detector: Detector,
    preprocess: Preprocess,
    postprocess: PostProcess,
    paths: Sequence[str],
    batch_size: int,
    maps: MapWriter | None = None,
) -> Iterator[Record]:
    """Scores pictures; one that cannot be read becomes a ``Failure`` and the rest goes on.

    Args:
        detector: calibrated, in evaluation mode.
        postprocess: makes records of the detector's output.
        paths: the pictures.
        batch_size: pictures at once.
        maps: writes the anomaly map of each picture; the detector must have one.

    Yields:
        one record a path, in order.
    """

    def read(batch: Sequence[str]) -> list[np.ndarray | ImageError]:
        return [_load(preprocess, path) for path in batch]

    batches = chunks(paths, batch_size)
    for batch, pictures in zip(batches, read_ahead(batches, read), strict=True):
        readable = {
            path: picture
            for path, picture in zip(batch, pictures, strict=True)
            if not isinstance(picture, ImageError)
        }
        records: dict[str, Record] = {}
        if readable:
            images = preprocess.normalize(np.stack(list(readable.values())))
            outputs = detect(detector, images)
            found = postprocess(list(readable), outputs)
            records = dict(zip(readable, found, strict=True))
            if maps is not None:
                for (path, pixels), anomaly_map in zip(
                    readable.items(), outputs["map"], strict=True
                ):
                    maps.write(path, pixels, anomaly_map)
        for path, picture in zip(batch, pictures, strict=True):
            if isinstance(picture, ImageError):
                yield Failure(path, picture.reason)
            else:
                yield records[path]


def _load(preprocess: Preprocess, path: str) -> np.ndarray | ImageError:
    try:
        return preprocess.load(path)
    except ImageError as error:
        return error
