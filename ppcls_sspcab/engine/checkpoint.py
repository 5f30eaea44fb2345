"""Checkpoints: one safetensors file each, from which training goes on bit for bit.

All randomness follows from (seed, running number of the sample), so the step number is the state
of every random generator.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.arguments import check_arguments
from ppcls_sspcab.engine.ema import ExponentialMovingAverage
from ppcls_sspcab.engine.identity import PICTURES, refuse_changes
from ppcls_sspcab.errors import ModelError, UserError
from ppcls_sspcab.fitting.save import Progress
from ppcls_sspcab.utils.weights import (
    load_into,
    part_of,
    read_safetensors,
    read_weights,
    write_safetensors,
)


@dataclasses.dataclass
class _Card:
    """The types in a checkpoint's header."""

    progress: dict[str, Any]
    identity: dict[str, Any]
    schedule: dict[str, Any]
    scaler: dict[str, Any] | None


@dataclasses.dataclass
class TrainingState:
    """Everything that a checkpoint holds.

    Attributes:
        identity: what must agree for a resumed run to be the same run, by name; see
            :func:`ppcls_sspcab.engine.identity.training_identity`.
    """

    network: nn.Layer
    optimizer: paddle.optimizer.Optimizer
    scaler: paddle.amp.GradScaler | None
    ema: ExponentialMovingAverage | None
    progress: Progress
    identity: dict[str, Any]

    def save(self, path: Path) -> None:
        """Writes the checkpoint; a kill at any moment leaves the previous file whole."""
        optimizer_tensors, schedule = self._optimizer_state()
        arrays = {name: tensor.numpy() for name, tensor in self._tensors(optimizer_tensors)}
        card = {
            "progress": dataclasses.asdict(self.progress),
            "identity": self.identity,
            "schedule": schedule,
            "scaler": _plain(self.scaler.state_dict()) if self.scaler else None,
        }
        write_safetensors(path, arrays, {"checkpoint": json.dumps(card)})

    def load(self, path: Path, allowed: Sequence[str] = ()) -> None:
        """Restores what :meth:`save` wrote.

        Args:
            allowed: names in ``identity``, or the sections above them, that may have changed.

        Raises:
            ModelError: a missing or damaged file, or one of another run.
        """
        arrays, card = read_checkpoint(path)
        refuse_changes(card["identity"], self.identity, allowed, str(path))
        report = load_into(self.network, part_of(arrays, "network."), str(path))
        if report.missing or report.unexpected:
            raise ModelError(f"{path}: is of another network: {report.summary()}")
        try:
            self._set_optimizer_state(part_of(arrays, "optimizer."), card["schedule"])
        except (KeyError, TypeError, ValueError, AssertionError) as error:
            raise ModelError(f"{path}: is of another optimizer: {error}") from error
        if self.ema is not None:
            averages = part_of(arrays, "ema.")
            self.ema.shadow = {name: paddle.to_tensor(value) for name, value in averages.items()}
        if self.scaler is not None and card["scaler"]:
            self.scaler.load_state_dict(card["scaler"])
        self.progress = Progress(**card["progress"])
        self.progress.trained_before = trained_on(card)

    def not_finite(self) -> list[str]:
        """Names of the weights, averages and accumulators that hold a NaN or an infinity."""
        return [
            name
            for name, tensor in self._tensors(self._optimizer_state()[0])
            if tensor.is_floating_point() and not bool(paddle.isfinite(tensor).all())
        ]

    def _tensors(
        self, optimizer_tensors: dict[str, paddle.Tensor]
    ) -> Iterator[tuple[str, paddle.Tensor]]:
        parts = {"network": self.network.state_dict(), "optimizer": optimizer_tensors}
        if self.ema is not None:
            parts["ema"] = self.ema.shadow
        for part, tensors in parts.items():
            for name, tensor in tensors.items():
                yield f"{part}.{name}", tensor

    def _optimizer_state(self) -> tuple[dict[str, paddle.Tensor], dict[str, Any]]:
        """Accumulators, under the names of their parameters, and the schedule's state.

        Paddle's own names are numbered within a process, so they differ after a resume.
        """
        names = {parameter.name: key for key, parameter in self.network.named_parameters()}
        tensors = {}
        state = self.optimizer.state_dict()
        for key, value in state.items():
            if not isinstance(value, paddle.Tensor):
                continue
            owner = max((name for name in names if key.startswith(name + "_")), key=len)
            tensors[f"{names[owner]}|{key[len(owner) :]}"] = value
        return tensors, _plain(state.get("LR_Scheduler", {}))

    def _set_optimizer_state(self, arrays: dict[str, np.ndarray], schedule: dict[str, Any]) -> None:
        parameters = dict(self.network.named_parameters())
        state: dict[str, Any] = {"LR_Scheduler": schedule}
        for key, value in arrays.items():
            owner, _, accumulator = key.partition("|")
            name = parameters[owner].name + accumulator
            state[name] = paddle.to_tensor(value)
            state[name].name = name
        self.optimizer.set_state_dict(state)


def load_network(network: nn.Layer, path: Path, averaged: bool = False) -> None:
    """Gives a network the weights of a checkpoint, or with ``averaged`` those of its EMA.

    Raises:
        ModelError: as :func:`ppcls_sspcab.utils.weights.read_weights` and ``load_into``.
    """
    part = part_of(read_weights(path), "ema." if averaged else "network.")
    load_into(network, part, str(path))


def read_checkpoint(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A checkpoint's arrays, and its header: ``progress``, ``identity``, ``schedule``, ``scaler``.

    Raises:
        ModelError: no such file, or no checkpoint.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such checkpoint")
    arrays, texts = read_safetensors(path)
    if "checkpoint" not in texts:
        raise ModelError(f"{path}: holds weights but no training state to resume from")
    try:
        card = json.loads(texts["checkpoint"])
        check_arguments(_Card, card, "checkpoint")
        check_arguments(Progress, card["progress"], "checkpoint.progress")
    except (ValueError, AttributeError, UserError, RecursionError) as error:
        raise ModelError(f"{path}: damaged description of the training state: {error}") from error
    return arrays, card


def trained_on(card: dict[str, Any]) -> list[str]:
    """Contents of all the pictures that trained a checkpoint's network."""
    return sorted({*card["progress"]["trained_before"], *card["identity"].get(PICTURES, ())})


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.item() if isinstance(value, (paddle.Tensor, np.ndarray, np.generic)) else value
        for key, value in state.items()
    }
