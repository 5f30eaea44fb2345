"""Scoring a user's own pictures with a trained detector."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.detector.run import detect
from ppcls_sspcab.image.batches import Record, judge_pictures
from ppcls_sspcab.image.decode import Source
from ppcls_sspcab.image.maps import MapWriter

PostProcess = Callable[[Sequence[str], Mapping[str, np.ndarray]], Sequence[Record]]


def predict(
    detector: Detector,
    pictures: Iterable[Source],
    batch_size: int,
    postprocess: PostProcess,
    maps: MapWriter | None = None,
) -> Iterator[Record]:
    """Scores pictures; one that cannot be read becomes a ``Failure`` and the rest goes on.

    Args:
        detector: calibrated, in evaluation mode.
        batch_size: pictures at once.
        postprocess: makes records of the detector's output.
        maps: writes the anomaly map of each picture; the detector must have one.

    Yields:
        one record a picture, in order.
    """
    preprocess = detector.card.preprocess

    def judge(names: Sequence[str], pixels: np.ndarray) -> Sequence[Record]:
        outputs = detect(detector, preprocess.normalize(pixels))
        if maps is not None:
            for name, picture, anomaly_map in zip(names, pixels, outputs["map"], strict=True):
                maps.write(name, picture, anomaly_map)
        return postprocess(names, outputs)

    return judge_pictures(pictures, batch_size, preprocess.load, judge)
