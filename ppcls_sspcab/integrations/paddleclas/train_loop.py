"""``train_mode: cutpaste``: PaddleClas's own loop over an epoch, with CutPaste's warm-up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.engine.step import begin_step
from ppcls_sspcab.integrations.paddleclas.data import raise_failure
from ppcls_sspcab.integrations.paddleclas.sections import WHOLE
from ppcls_sspcab.utils.distributed import average_statistics
from ppcls_sspcab.utils.paddleclas import require_module


def train_epoch_cutpaste(engine: Any, epoch_id: int, print_batch_step: int) -> None:
    """Runs ``ppcls.engine.train.train_epoch``; forward, losses, steps and logs are PaddleClas's.

    Raises:
        DataError: a picture that cannot be read, which PaddleClas's loop would pass over.
    """
    loader = engine.train_dataloader
    steps = _Steps(engine, epoch_id, loader)
    engine.train_dataloader = steps
    engine.train_dataloader_iter = iter(steps)
    try:
        require_module("engine.train").train_epoch(engine, epoch_id, print_batch_step)
    finally:
        engine.train_dataloader = loader
    average_statistics(network_of(engine))


def network_of(engine: Any) -> Any:
    """The engine's network, out of DataParallel."""
    return getattr(engine.model, "_layers", engine.model)


class _Steps:
    """The batches of one epoch; each step is begun as the built-in engine begins it."""

    def __init__(self, engine: Any, epoch_id: int, loader: Any) -> None:
        self._network = network_of(engine)
        self._run = Config(engine.config[WHOLE]).Global
        self._loader = loader
        self._first = (epoch_id - 1) * len(loader)
        self._error: BaseException | None = None
        loader.batch_sampler.set_epoch(epoch_id - 1)

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        # PaddleClas's loop answers any error by asking for a new iterator.
        if self._error is not None:
            raise self._error
        try:
            for index, batch in enumerate(self._loader):
                raise_failure(batch)
                begin_step(self._network, self._run, self._first + index)
                yield batch
        except GeneratorExit:
            raise
        except BaseException as error:
            self._error = error
            raise
