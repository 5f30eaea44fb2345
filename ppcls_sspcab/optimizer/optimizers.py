"""Paddle's optimizers under PaddleClas's names."""

from __future__ import annotations

from typing import Any

import paddle

from ppcls_sspcab.registry import OPTIMIZERS


@OPTIMIZERS.register
def SGD(
    parameters: Any, learning_rate: Any, weight_decay: float, grad_clip: Any
) -> paddle.optimizer.Optimizer:
    """Plain stochastic gradient descent; the weight decay is L2, added to the gradient."""
    return paddle.optimizer.SGD(
        learning_rate, parameters, weight_decay=weight_decay, grad_clip=grad_clip
    )


@OPTIMIZERS.register
def Momentum(
    parameters: Any,
    learning_rate: Any,
    weight_decay: float,
    grad_clip: Any,
    momentum: float = 0.9,
    use_nesterov: bool = False,
) -> paddle.optimizer.Optimizer:
    """SGD with momentum, the CutPaste paper's choice (momentum 0.9, weight decay 3e-5).

    Args:
        momentum: share of the last step that the next one repeats, in 0..1.
        use_nesterov: takes the gradient where the momentum leads to (Nesterov).
    """
    _within_0_and_1(momentum=momentum)
    return paddle.optimizer.Momentum(
        learning_rate,
        momentum,
        parameters,
        use_nesterov=use_nesterov,
        weight_decay=weight_decay,
        grad_clip=grad_clip,
    )


def _register_adam(name: str, about: str) -> None:
    def build(
        parameters: Any,
        learning_rate: Any,
        weight_decay: float,
        grad_clip: Any,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> paddle.optimizer.Optimizer:
        """

        Args:
            beta1: decay of the gradient's mean, in 0..1.
            beta2: decay of the squared gradient's mean, in 0..1.
            epsilon: added to the root of the latter, above 0.
        """
        _within_0_and_1(beta1=beta1, beta2=beta2)
        if epsilon <= 0:
            raise ValueError(f"epsilon must be above 0, not {epsilon}")
        return getattr(paddle.optimizer, name)(
            learning_rate,
            beta1,
            beta2,
            epsilon,
            parameters,
            weight_decay=weight_decay,
            grad_clip=grad_clip,
        )

    build.__doc__ = about + (build.__doc__ or "")
    OPTIMIZERS.register_as(name)(build)


_register_adam("Adam", "Adam (Kingma and Ba, 2015); the weight decay is L2, added to the gradient.")
_register_adam(
    "AdamW", "AdamW (Loshchilov and Hutter, 2019): the weight decay is apart from the gradient."
)


def _within_0_and_1(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name} must be at least 0 and below 1, not {value}")
