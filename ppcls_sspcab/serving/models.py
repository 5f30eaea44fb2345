"""The models that a service runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from ppcls_sspcab.image.batches import Record
from ppcls_sspcab.runtime.predictor import Predictor
from ppcls_sspcab.serving.batcher import Batcher
from ppcls_sspcab.serving.settings import Settings


@dataclass(frozen=True)
class ServedModel:
    """One exported model, its queue and its thread.

    Attributes:
        name: in addresses and rows.
        predictor: judges.
        batcher: queues decoded pictures before it.
        precision: of the predictor.
    """

    name: str
    predictor: Predictor
    batcher: Batcher[Record]
    precision: str

    @property
    def version(self) -> str:
        return self.predictor.card.version

    @property
    def has_maps(self) -> bool:
        return "map" in self.predictor.card.outputs


def open_models(settings: Settings) -> Mapping[str, ServedModel]:
    """Loads every model and runs it once, so that no first picture waits.

    Raises:
        ModelError, UserError: as :class:`Predictor`.
    """
    found = {}
    for name, folder in settings.models.items():
        predictor = Predictor(
            folder, settings.backend, settings.threads, precision=settings.precision
        )
        run = partial(_judge, predictor, name)
        run(np.zeros((1, *predictor.card.preprocess.image_size, 3), np.uint8))
        batcher = Batcher(run, settings.batch, settings.wait_ms / 1000, settings.queue)
        found[name] = ServedModel(name, predictor, batcher, settings.precision)
    return found


def _judge(predictor: Predictor, name: str, pixels: np.ndarray) -> list[Record]:
    return predictor.judge([name] * len(pixels), pixels)
