"""A training that cannot learn or did not: refused at its start, or ended."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean, median

import paddle
from paddle import nn

from ppcls_sspcab.arch.modes import evaluation_mode
from ppcls_sspcab.arch.paths import find_layer
from ppcls_sspcab.config.config import Config
from ppcls_sspcab.engine.step import diverged
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.utils.logger import get_logger

FROM_SCRATCH = "configs/from_scratch.yaml"
# An epoch's median loss that is so many times the first step's, or 1, is no training: every loss of
# this project begins near what guessing costs.
GROWTH = 10.0
# Times the accuracy of guessing: what is no better has learnt nothing.
LEAST_ACCURACY = 1.2
PROBE = 64  # pixels


def check_start(network: nn.Layer, config: Config) -> None:
    """Refuses frozen layers of random weights, and pictures smaller than a cell of the last map.

    Raises:
        ConfigError: either; the first only where there is something to train and nothing to resume.
    """
    run = config.Global
    if run.epochs and not run.checkpoints:
        _refuse_frozen_random(network, config)
    _refuse_tiny(network, config)


def _refuse_frozen_random(network: nn.Layer, config: Config) -> None:
    frozen, backbone = config.Arch.get("freeze"), getattr(network, "backbone", None)
    if backbone is None:
        return
    report = getattr(backbone, "load_report", None)
    missing = None if report is None else set(report.missing)
    names = {id(parameter): name for name, parameter in backbone.named_parameters()}
    for path in frozen or ():
        held = [names[id(item)] for item in find_layer(backbone, path, "Arch.freeze").parameters()]
        if held and (missing is None or missing.intersection(held)):
            raise ConfigError(
                "Arch.freeze",
                f"{path} would keep random weights: give Arch.pretrained the path of weights, or "
                f"train every stage, as {FROM_SCRATCH} does (-o Arch.freeze=null -o "
                "Arch.untrained=null)",
            )
    if config.Global.freeze_steps and missing is None:
        get_logger().warning(
            f"Global.freeze_steps: the backbone has random weights, and the first "
            f"{config.Global.freeze_steps} steps do not train it; see {FROM_SCRATCH}"
        )


def _refuse_tiny(network: nn.Layer, config: Config) -> None:
    if not hasattr(network, "feature_map"):
        return
    with evaluation_mode(network), paddle.no_grad():
        cells = network.feature_map(paddle.zeros([1, 3, PROBE, PROBE])).shape[2:]
    least = math.ceil(PROBE / min(cells))
    tiles = config.Tiling is not None
    size = list(config.Tiling.size if config.Tiling is not None else config.Preprocess.image_size)
    if min(size) < least:
        raise ConfigError(
            "Tiling.size" if tiles else "Preprocess.image_size",
            f"{size} is less than one cell of the network's last map: at least {[least, least]}, "
            f"better {[8 * least, 8 * least]}",
        )


class LossWatch:
    """Tells a training that diverges from one that learns, epoch by epoch.

    Args:
        class_num: of the pretext task.
        latest: the last good checkpoint, for the error.
    """

    def __init__(self, class_num: int, latest: Path) -> None:
        self._chance = 1 / class_num
        self._latest = latest
        self._losses: list[float] = []
        self._hits: list[float] = []
        self._last_hits: list[float] = []

    def add(self, loss: float, accuracy: float) -> None:
        """Takes a step's figures."""
        self._losses.append(loss)
        self._hits.append(accuracy)

    def end_epoch(self, first_loss: float, step: int, lr: float) -> None:
        """Looks at the steps since the last call.

        Args:
            first_loss: of the training's first step.
            step: the last one, counted from 0. lr: its learning rate.

        Raises:
            UserError: the median loss is more than ``GROWTH`` times the first, and than 1.
        """
        found = median(self._losses)
        self._losses.clear()
        self._hits, self._last_hits = [], self._hits
        if found > GROWTH * max(first_loss, 1.0):
            what = f"the training diverges: the loss is {found:.4g}, at first {first_loss:.4g},"
            raise diverged(what, step, lr, self._latest)

    def end(self, category: str) -> None:
        """Warns of a network that guesses to the end."""
        accuracy = fmean(self._last_hits)
        if accuracy <= LEAST_ACCURACY * self._chance:
            get_logger().warning(
                f"{category}: the network has not learnt to tell pasted patches: its accuracy in "
                f"the last epoch is {accuracy:.2f}, guessing has {self._chance:.2f}; train longer, "
                "or with another Optimizer.lr.learning_rate"
            )
