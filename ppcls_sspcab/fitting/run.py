"""Running the pictures of a store through a detector."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import paddle
from paddle.distributed import get_rank
from tqdm import tqdm

from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.detector.run import Outputs, detect, gather, read_features
from ppcls_sspcab.detector.scores.base import ImageScore
from ppcls_sspcab.image.batches import batches, read_ahead
from ppcls_sspcab.utils.distributed import exchanged, ranks

# Memory for the features of good pictures, which are read again where they do not fit.
FIT_BYTES = 512 << 20


def run_store(
    run: Callable[[np.ndarray], Outputs],
    store: ImageStore,
    batch_size: int,
    title: str,
    pictures: Sequence[int] | None = None,
) -> Iterator[Outputs]:
    """``run(images)`` of a store's pictures, all or those given, batch by batch, in order.

    Several ranks (:mod:`ppcls_sspcab.utils.distributed`) share the batches; each yields them all.
    """
    pictures = range(len(store)) if pictures is None else pictures

    def read(indices: Sequence[int]) -> np.ndarray:
        return store.preprocess.normalize(np.stack([store[index] for index in indices]))

    rounds = list(batches(batches(pictures, batch_size), ranks()))
    own = [turn[min(get_rank(), len(turn) - 1)] for turn in rounds]
    with tqdm(total=len(pictures), desc=title, unit="pictures", disable=None, leave=False) as bar:
        for turn, (_, images) in zip(rounds, read_ahead(own, read), strict=True):
            found = run(images)
            everywhere = exchanged(found, batch_size) if ranks() > 1 else [found]
            # In the last turn there may be fewer batches than ranks: the others did one again.
            for batch, outputs in zip(turn, everywhere, strict=False):
                yield {name: value[: len(batch)] for name, value in outputs.items()}
                bar.update(len(batch))


def stored_image_scores(
    detector: Detector, store: ImageStore, batch_size: int, title: str
) -> np.ndarray:
    """The image scores of a store's pictures, float32 [N]."""

    def run(images: np.ndarray) -> Outputs:
        return {"score": detect(detector, images)["score"]}

    return gather(run_store(run, store, batch_size, title))["score"]


class StoredFeatures:
    """The features of a store's pictures, batch by batch, as often as they are asked for.

    Where ``FIT_BYTES`` hold them, the network runs once; else each time.

    Args:
        pictures: indices in the store; default: all.
    """

    def __init__(
        self,
        detector: Detector,
        store: ImageStore,
        batch_size: int,
        pictures: Sequence[int] | None = None,
    ) -> None:
        self._detector, self._store, self._batch_size = detector, store, batch_size
        self._pictures = range(len(store)) if pictures is None else list(pictures)
        self._kept: list[Outputs] | None = None

    def __iter__(self) -> Iterator[Outputs]:
        if self._kept is not None:
            yield from self._kept
            return
        kept, held = [], 0
        run = partial(read_features, self._detector)
        for batch in run_store(run, self._store, self._batch_size, "fitting", self._pictures):
            held += sum(value.nbytes for value in batch.values())
            if held <= FIT_BYTES:
                kept.append(batch)
            yield batch
        if held <= FIT_BYTES:
            self._kept = kept

    def __len__(self) -> int:
        """The number of pictures."""
        return len(self._pictures)

    def of(self, rows: np.ndarray) -> StoredFeatures:
        """Those of some of the pictures, by their number among these."""
        pictures = [self._pictures[row] for row in rows]
        found = StoredFeatures(self._detector, self._store, self._batch_size, pictures)
        if self._kept is not None:
            whole = gather(self._kept)
            found._kept = [
                {name: value[rows[batch]] for name, value in whole.items()}
                for batch in batches(range(len(rows)), self._batch_size)
            ]
        return found


def score_all_parts(
    detector: Detector, features: Iterable[Outputs], pixels: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """:func:`score_parts` of all batches of features."""
    found = [score_parts(detector, batch, pixels) for batch in features]
    values = [value for _, value in found if value is not None]
    parts = np.concatenate([part for part, _ in found])
    return parts, np.concatenate(values) if values else None


def stored_parts(
    detector: Detector, store: ImageStore, batch_size: int, title: str, pixels: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """:func:`score_parts` of a store's pictures, of whose features one batch is kept at a time."""

    def run(images: np.ndarray) -> Outputs:
        parts, values = score_parts(detector, read_features(detector, images), pixels)
        return {"parts": parts} if values is None else {"parts": parts, "pixels": values}

    found = gather(run_store(run, store, batch_size, title))
    return found["parts"], found.get("pixels")


@paddle.no_grad()
def score_parts(
    detector: Detector, features: Outputs, pixels: int, batch_size: int = 32
) -> tuple[np.ndarray, np.ndarray | None]:
    """The parts of the image score and pixels of the map, not calibrated.

    Args:
        features: as :func:`read_features` gives them, of N pictures.
        pixels: the most pixels of each map to return, evenly spread.

    Returns:
        float32 [N, P], and float32 [N, M] with M <= pixels; None without a localizer.
    """
    parts, values = [], []
    for batch in batches(range(len(features["embedding"])), batch_size):
        tensors = {name: paddle.to_tensor(value[batch]) for name, value in features.items()}
        found, anomaly_map = detector.parts(tensors)
        parts.append(found.numpy())
        if anomaly_map is not None:
            flat = anomaly_map.flatten(1).numpy()
            values.append(flat[:, :: pixel_step(flat.shape[1], pixels)])
    return np.concatenate(parts), np.concatenate(values) if values else None


def pixel_step(available: int, wanted: int) -> int:
    """The odd stride that leaves at most ``wanted`` pixels: it visits every column of a map."""
    step = -(-available // wanted)
    return step | 1


@paddle.no_grad()
def combine(score: ImageScore, parts: np.ndarray) -> np.ndarray:
    """The image scores [N] of parts [N, P]."""
    return score.combine(paddle.to_tensor(parts.astype(np.float32))).numpy()
