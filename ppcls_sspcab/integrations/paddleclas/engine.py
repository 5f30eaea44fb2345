"""``Global.engine: paddleclas``: the command line's verbs, trained by PaddleClas's engine."""

from __future__ import annotations

from pathlib import Path

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.engine.engine import Engine
from ppcls_sspcab.integrations.paddleclas.install import engine_config
from ppcls_sspcab.utils.paddleclas import require_module


class PaddleClasEngine(Engine):
    """The built-in engine, except that PaddleClas trains.

    Evaluating, predicting and exporting take the detector that it leaves, as ``eval_mode:
    anomaly`` does in PaddleClas itself.
    """

    def train_category(self, config: Config) -> Path:
        tree = engine_config(config)
        require_module("engine.engine").Engine(tree, mode="train").train()
        return config.folder.detector
