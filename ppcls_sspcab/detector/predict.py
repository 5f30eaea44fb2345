"""Scoring a user's own pictures with a trained detector."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from ppcls_sspcab.detector.accelerated import accelerated
from ppcls_sspcab.detector.run import Scorer, detect
from ppcls_sspcab.image.batches import Record, judge_pictures
from ppcls_sspcab.image.decode import Source
from ppcls_sspcab.image.maps import MapWriter
from ppcls_sspcab.image.preprocess import Preprocess

PostProcess = Callable[[Sequence[str], Mapping[str, np.ndarray]], Sequence[Record]]


def predict(
    detector: Scorer,
    preprocess: Preprocess,
    pictures: Source | Iterable[Source],
    batch_size: int,
    postprocess: PostProcess,
    maps: MapWriter | None = None,
) -> Iterator[Record]:
    """Scores pictures; one that cannot be read becomes a ``Failure`` and the rest goes on.

    On a CPU the network runs by oneDNN; compiling it takes a second or more before the first
    record.

    Args:
        detector: calibrated, in evaluation mode.
        preprocess: the contract of the detector's card.
        pictures: as :func:`~ppcls_sspcab.image.sources.as_pictures` takes them.
        batch_size: pictures at once.
        postprocess: makes records of the detector's output.
        maps: writes the anomaly map of each picture; the detector must have one.

    Yields:
        one record a picture, in order.
    """

    def judge(names: Sequence[str], pixels: np.ndarray) -> Sequence[Record]:
        outputs = detect(detector, preprocess.normalize(pixels))
        if maps is not None:
            for name, anomaly_map in zip(names, outputs["map"], strict=True):
                maps.write(name, anomaly_map)
        return postprocess(names, outputs)

    with accelerated(detector):
        yield from judge_pictures(pictures, batch_size, preprocess.load, judge)
