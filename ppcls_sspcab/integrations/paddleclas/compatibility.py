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
    """Makes losses and metrics of this PaddleClas readable to its own logging.

    Returns:
        whether it was necessary.
    """
    utils = require_module("engine.train.utils")
    try:
        utils.update_loss(SimpleNamespace(output_info={}), {"loss": paddle.ones([])}, 1)
        return False
    except IndexError:
        pass
    meter = require_module("utils.misc").AverageMeter
    meter.update = _with_plain_value(meter.update)
    combined = require_module("loss").CombinedLoss
    combined.__call__ = _with_axis(combined.__call__)
    update_metric = _with_metric_axis(utils.update_metric)
    for path in ("engine.train.utils", "engine.train.train"):
        setattr(require_module(path), update_metric.__name__, update_metric)
    logger: Any = require_module("utils.logger")
    engine: Any = require_module("engine.engine")
    engine.init_logger = _with_second_start(logger)
    return True


def _with_plain_value(update: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(update)
    def updated(self: Any, val: Any, n: int = 1) -> None:
        update(self, float(val), n)

    return updated


def _with_axis(combine: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    @functools.wraps(combine)
    def combined(self: Any, *inputs: Any) -> dict[str, Any]:
        return {name: value.reshape([1]) for name, value in combine(self, *inputs).items()}

    return combined


def _with_metric_axis(update_metric: Callable[..., None]) -> Any:
    @functools.wraps(update_metric)
    def updated(trainer: Any, *inputs: Any) -> None:
        measure = trainer.train_metric_func
        if measure is None:
            return
        trainer.train_metric_func = lambda *given: {
            name: paddle.to_tensor(value).reshape([1]) for name, value in measure(*given).items()
        }
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
