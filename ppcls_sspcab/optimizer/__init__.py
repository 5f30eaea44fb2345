"""Optimizers and learning-rate schedules, built from section ``Optimizer``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from ppcls_sspcab.arguments import check_arguments, check_type, refuse_misspelt
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.registry import OPTIMIZERS, SCHEDULES

if TYPE_CHECKING:
    from paddle.nn import Layer
    from paddle.optimizer import Optimizer
    from paddle.optimizer.lr import LRScheduler


def build_schedule(
    section: Mapping[str, Any], total_steps: int, steps_per_epoch: int
) -> LRScheduler:
    """The schedule that section ``Optimizer`` names as ``lr``, over ``total_steps`` of the run.

    Raises:
        ConfigError: a wrong key or value.
    """
    if "lr" not in section:
        raise ConfigError("Optimizer.lr", "is required and not set")
    return SCHEDULES.build(
        section["lr"], "Optimizer.lr", total_steps=total_steps, steps_per_epoch=steps_per_epoch
    )


def build_optimizer(section: Mapping[str, Any], schedule: LRScheduler, network: Layer) -> Optimizer:
    """The optimizer of section ``Optimizer`` over the parameters that are trained.

    ``regularizer: {name: L2, coeff: c}`` is the weight decay, as in PaddleClas. ``clip_norm: v``
    clips the global norm of the gradient, where PaddleClas clips each parameter's by itself.

    Raises:
        ConfigError: a wrong key or value.
    """
    from paddle.nn import ClipGradByGlobalNorm

    arguments = {key: value for key, value in section.items() if key != "lr"}
    refuse_misspelt(arguments, ["clip_norm", "regularizer"], "Optimizer")
    clip_norm = arguments.pop("clip_norm", None)
    if clip_norm is not None:
        check_type(clip_norm, float, "Optimizer.clip_norm")
        if clip_norm <= 0:
            raise ConfigError("Optimizer.clip_norm", f"must be above 0, not {clip_norm!r}")
    return OPTIMIZERS.build(
        arguments,
        "Optimizer",
        parameters=network.parameters(),
        learning_rate=schedule,
        weight_decay=_weight_decay(arguments.pop("regularizer", None)),
        grad_clip=ClipGradByGlobalNorm(clip_norm) if clip_norm else None,
    )


def _weight_decay(regularizer: Any) -> float:
    if regularizer is None:
        return 0.0
    key = "Optimizer.regularizer"
    if not isinstance(regularizer, Mapping):
        raise ConfigError(key, f"must be {{name: L2, coeff: number}}, not {regularizer!r}")
    check_arguments(_decay, regularizer, key)
    decay = _decay(**regularizer)
    if not 0 <= decay <= 1:
        raise ConfigError(f"{key}.coeff", f"must lie in 0..1, not {decay!r}")
    return decay


def _decay(name: Literal["L2"], coeff: float) -> float:
    return float(coeff)
