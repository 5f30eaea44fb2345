"""One training step: forward, losses, backward, update."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import paddle
from paddle import distributed, nn

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.schema import GlobalSection
from ppcls_sspcab.engine.checkpoint import TrainingState
from ppcls_sspcab.engine.frozen_stem import FrozenStem
from ppcls_sspcab.errors import ConfigError, UserError
from ppcls_sspcab.utils.distributed import ranks
from ppcls_sspcab.utils.static_graph import static_graph


class TrainingStep:
    """Trains a network by one batch a call.

    Args:
        config: the whole configuration.
        state: network, optimizer, scaler and averages; changed in place.
        schedule: the learning rate; stepped once a call.
        loss: the weighted sum of the losses.
        view_size: (h, w) of the network's inputs while training.

    Raises:
        ConfigError: a static graph with several ranks.
    """

    def __init__(
        self,
        config: Config,
        state: TrainingState,
        schedule: paddle.optimizer.lr.LRScheduler,
        loss: nn.Layer,
        view_size: tuple[int, int],
    ) -> None:
        self._run = config.Global
        self._use_amp = config.AMP.use_amp
        self._latest = config.folder.checkpoint("latest")
        self._state = state
        self._schedule = schedule
        self._loss = loss
        self._network = state.network
        # What is called while training; several ranks then have the same gradients.
        self._model = self._network if ranks() == 1 else self._parallel()
        self._stem = FrozenStem.of(self._network, view_size)

    def __call__(
        self, number: int, images: paddle.Tensor, labels: paddle.Tensor
    ) -> dict[str, float]:
        """Runs one step.

        Args:
            number: of the step, counted from 0.
            images: float32 [N, 3, h, w], normalised.
            labels: int64 [N, 1], pretext classes.

        Returns:
            the losses by name, ``loss``, their sum, and ``accuracy`` of the pretext task.

        Raises:
            UserError: the loss is not finite; nothing is updated.
        """
        begin_step(self._network, self._run, number)
        if self._run.to_static and (
            self._model is self._network or number == self._run.freeze_steps
        ):
            # A traced program keeps frozen what was frozen when it was traced.
            self._model = static_graph(self._network.forward)
        self._network.train()
        with self._autocast():
            output = self._forward(images)
            losses = self._loss(output, labels)
        figures = {name: float(value) for name, value in losses.items()}
        if not math.isfinite(figures["loss"]):
            what = f"the loss is {figures['loss']}"
            raise diverged(what, number, self._schedule.get_lr(), self._latest)
        self._update(losses["loss"])
        hits = (output["logits"].argmax(axis=1) == labels.flatten()).astype("float32")
        return {**figures, "accuracy": float(hits.mean())}

    def _forward(self, images: paddle.Tensor) -> dict[str, Any]:
        if self._stem is None:
            return self._model(images)
        features = self._stem(images)
        with self._stem.skipped():
            return self._model(features)

    def _update(self, loss: paddle.Tensor) -> None:
        state = self._state
        if state.scaler is not None:
            state.scaler.scale(loss).backward()
            state.scaler.step(state.optimizer)
            state.scaler.update()
        else:
            loss.backward()
            state.optimizer.step()
        state.optimizer.clear_grad()
        self._schedule.step()
        if state.ema is not None:
            state.ema.update()

    def _autocast(self) -> AbstractContextManager[Any]:
        if not self._use_amp:
            return nullcontext()
        on_cpu = paddle.device.get_device().startswith("cpu")
        return paddle.amp.auto_cast(level="O1", dtype="bfloat16" if on_cpu else "float16")

    def _parallel(self) -> nn.Layer:
        if self._run.to_static:
            raise ConfigError("Global.to_static", "is for one process, not for several ranks")
        # Frozen parameters get no gradient, and the others must not wait for it.
        return paddle.DataParallel(self._network, find_unused_parameters=self._run.freeze_steps > 0)


def begin_step(network: nn.Layer, run: GlobalSection, step: int) -> None:
    """Seeds Paddle's generator for a step, counted from 0, and holds the backbone in the first."""
    # Layers that draw (dropout in a plug-in's backbone) repeat themselves after a resume.
    paddle.seed(hash((run.seed, step, distributed.get_rank())) & 0x7FFFFFFF)
    if step < run.freeze_steps:
        network.freeze_backbone()
    elif run.freeze_steps:
        network.unfreeze_backbone()


def build_scaler(config: Config) -> paddle.amp.GradScaler | None:
    """The loss scaler of section ``AMP``; None where bfloat16, as on a CPU, needs none."""
    amp = config.AMP
    if not amp.use_amp or paddle.device.get_device().startswith("cpu"):
        return None
    return paddle.amp.GradScaler(
        init_loss_scaling=amp.scale_loss,
        use_dynamic_loss_scaling=amp.use_dynamic_loss_scaling,
    )


def diverged(what: str, step: int, lr: float, latest: Path) -> UserError:
    """The end of a run whose numbers went wrong; nothing of it is saved.

    Args:
        what: what is not finite.
        step: counted from 0.
        lr: learning rate of the step.
        latest: the last checkpoint.
    """
    return UserError(
        f"{what} at step {step + 1}, lr {lr:.6g}; the last good state is {latest} - lower "
        "Optimizer.lr.learning_rate or set Optimizer.clip_norm"
    )
