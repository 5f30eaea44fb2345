"""Lets the engine of the 2.4 wheel run under Paddle 3, where the mean of a tensor has no axis.

Its logging takes ``tensor.numpy()[0]`` everywhere, and its logger allows one engine a process. A
checkout of today needs none of this.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import paddle

from ppcls_sspcab.utils.paddleclas import require_module


@functools.cache
def make_compatible() -> bool:
    """Makes losses and metrics readable to PaddleClas's logging; returns whether it was needed."""
    utils = require_module("engine.train.utils")
    try:
        utils.update_loss(SimpleNamespace(output_info={}), {"loss": paddle.ones([])}, 1)
        return False
    except IndexError:
        pass
    meter, combined = require_module("utils.misc").AverageMeter, require_module("loss").CombinedLoss
    update, combine = meter.update, combined.__call__
    meter.update = lambda self, val, n=1: update(self, float(val), n)
    combined.__call__ = lambda self, *inputs: _with_axis(combine(self, *inputs))
    update_metric = _with_metric_axis(utils.update_metric)
    for path in ("engine.train.utils", "engine.train.train"):
        setattr(require_module(path), update_metric.__name__, update_metric)
    logger: Any = require_module("utils.logger")
    engine: Any = require_module("engine.engine")
    engine.init_logger = _with_second_start(logger)
    return True


def _with_axis(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value.reshape([1]) for name, value in values.items()}


def _with_metric_axis(update_metric: Callable[..., None]) -> Any:
    @functools.wraps(update_metric)
    def updated(trainer: Any, *inputs: Any) -> None:
        measure = trainer.train_metric_func
        if measure is None:
            return
        trainer.train_metric_func = lambda *given: _with_axis(
            {name: paddle.to_tensor(value) for name, value in measure(*given).items()}
        )
        try:
            update_metric(trainer, *inputs)
        finally:
            trainer.train_metric_func = measure

    return updated


def _with_second_start(logger: Any) -> Callable[..., Any]:
    init_logger = logger.init_logger

    @functools.wraps(init_logger)
    def started(*arguments: Any, **named: Any) -> Any:
        if logger._logger is not None:
            for handler in list(logger._logger.handlers):
                logger._logger.removeHandler(handler)
            logger._logger = None
        return init_logger(*arguments, **named)

    return started
