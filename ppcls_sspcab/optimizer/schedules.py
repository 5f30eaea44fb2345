"""Learning rates over the steps that are really run, stepped once a training step."""

from __future__ import annotations

import math
from collections.abc import Callable

from paddle.optimizer import lr

from ppcls_sspcab.registry import SCHEDULES


@SCHEDULES.register
def Cosine(
    learning_rate: float,
    total_steps: int,
    steps_per_epoch: int,
    eta_min: float = 0.0,
    warmup_epoch: float = 0.0,
    warmup_start_lr: float = 0.0,
    by_epoch: bool = False,
) -> lr.LRScheduler:
    """Half a cosine from ``learning_rate`` down to ``eta_min`` at the last step.

    Args:
        learning_rate: the rate after warm-up.
        eta_min: the rate at the end.
        warmup_epoch: length of the linear warm-up, in epochs; may be a fraction.
        warmup_start_lr: the rate at the first step of the warm-up.
        by_epoch: holds the rate during an epoch.
    """
    if learning_rate <= 0:
        raise ValueError(f"learning_rate must be above 0, not {learning_rate}")
    if not 0 <= eta_min <= learning_rate:
        raise ValueError(f"eta_min must lie between 0 and learning_rate, not {eta_min}")
    warmup = round(warmup_epoch * steps_per_epoch)
    if not 0 <= warmup < total_steps:
        raise ValueError(f"warmup_epoch must lie within the {total_steps} steps of the run")

    def rate(step: int) -> float:
        if step < warmup:
            return warmup_start_lr + (learning_rate - warmup_start_lr) * step / warmup
        progress = min(1.0, (step - warmup) / (total_steps - warmup))
        return eta_min + (learning_rate - eta_min) * 0.5 * (1 + math.cos(math.pi * progress))

    return _scheduler(rate, steps_per_epoch if by_epoch else 1)


@SCHEDULES.register
def Constant(learning_rate: float, total_steps: int, steps_per_epoch: int) -> lr.LRScheduler:
    """The same learning rate at every step.

    Args:
        learning_rate: above 0.
    """
    if learning_rate <= 0:
        raise ValueError(f"learning_rate must be above 0, not {learning_rate}")
    return _scheduler(lambda step: learning_rate, 1)


@SCHEDULES.register
def MultiStepDecay(
    learning_rate: float,
    total_steps: int,
    steps_per_epoch: int,
    milestones: list[float],
    gamma: float = 0.1,
) -> lr.LRScheduler:
    """Multiplies the rate by ``gamma`` at every milestone.

    Args:
        learning_rate: the rate before the first milestone, above 0.
        milestones: in epochs; may be fractions.
        gamma: factor of the rate at each.
    """
    if learning_rate <= 0:
        raise ValueError(f"learning_rate must be above 0, not {learning_rate}")
    steps = [round(milestone * steps_per_epoch) for milestone in milestones]
    return _scheduler(lambda step: learning_rate * gamma ** sum(step >= at for at in steps), 1)


def _scheduler(rate: Callable[[int], float], hold: int) -> lr.LRScheduler:
    """``rate(step)`` as a Paddle scheduler that holds each value for ``hold`` steps."""
    return lr.LambdaDecay(1.0, lambda step: rate(step // hold * hold))
