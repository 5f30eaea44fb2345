"""``eval_mode: anomaly``: PaddleClas's Engine, whose network is measured as a Detector.

Density, threshold and scores are the built-in engine's, so that a score means the same in both.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paddle

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.data.build import GoodPictures, good_pictures
from ppcls_sspcab.detector.build import build_threshold, unfitted_detector
from ppcls_sspcab.engine.engine import Engine
from ppcls_sspcab.errors import ConfigError, ModelError
from ppcls_sspcab.fitting.fit import fit_detector
from ppcls_sspcab.fitting.save import Progress, save_detector
from ppcls_sspcab.fitting.validation import synthetic_auroc
from ppcls_sspcab.integrations.paddleclas.sections import WHOLE
from ppcls_sspcab.integrations.paddleclas.train_loop import network_of, train_epoch_cutpaste
from ppcls_sspcab.utils.distributed import wait_for_first
from ppcls_sspcab.utils.weights import load_into, read_weights


def anomaly_eval(engine: Any, epoch_id: int = 0) -> float:
    """The figure PaddleClas keeps its ``best_model`` by: never one of the test pictures.

    Returns:
        while training, the AUROC on synthetic defects; for ``tools/eval.py`` the image AUROC of
        the test pictures.
    """
    config = Config(engine.config[WHOLE])
    if engine.mode == "train":
        dataset = engine.train_dataloader.dataset
        if dataset.held_out is None:
            raise ConfigError(
                "Global.eval_during_train", "needs held-out pictures: calibrate_on: held_out"
            )
        detector = unfitted_detector(config, network_of(engine))
        return synthetic_auroc(detector, config, GoodPictures(dataset.store, dataset.held_out))
    (results,) = Engine(config, "eval").eval()
    return results.image_auroc


def with_anomaly(base: type) -> type:
    """``ppcls.engine.engine.Engine`` that also knows ``eval_mode: anomaly`` and ``train_mode``.

    With ``Global.pretrained_model`` the detector is made anew of those weights and the good
    pictures, and written; without it the detector that training left is taken.
    """

    class AnomalyEngine(base):  # type: ignore[misc,valid-type]
        def __init__(self, config: Any, mode: str = "train") -> None:
            self._plan = _plan(config)
            if self._plan is not None:
                config["Global"]["eval_mode"] = "classification"
                if mode != "train":
                    config["Arch"]["pretrained"] = False
            with _parallel_with_frozen_parameters(self._plan):
                super().__init__(config, mode)
            if self._plan is not None:
                self.eval_func = anomaly_eval
                self.train_epoch_func = train_epoch_cutpaste
                if mode == "train" and self._plan.Global.freeze_steps:
                    for optimizer in self.optimizer:
                        # Paddle's merged kernel takes for granted that no parameter is frozen.
                        optimizer._use_multi_tensor = False

        def train(self) -> None:
            started = time.perf_counter()
            super().train()
            if self._plan is not None:
                dataset = self.train_dataloader.dataset
                progress = _load_selected(self, self._plan)
                progress.seconds = time.perf_counter() - started
                pictures = GoodPictures(dataset.store, dataset.held_out)
                _save(self, self._plan, pictures, progress)

        def eval(self, epoch_id: int = 0) -> Any:
            if self._plan is not None and self.mode == "eval":
                _refresh(self, self._plan)
            return super().eval(epoch_id)

        def infer(self) -> Any:
            if self._plan is None:
                return super().infer()
            _refresh(self, self._plan)
            output = self.config["Infer"].get("save_dir")
            images = self.config["Infer"]["infer_imgs"]
            return Engine(self._plan, "infer").infer([images] if images else None, output=output)

        def export(self, *arguments: Any, **named: Any) -> Any:
            if self._plan is None:
                return super().export(*arguments, **named)
            _refresh(self, self._plan)
            return Engine(self._plan, "export").export()

    AnomalyEngine.__name__ = AnomalyEngine.__qualname__ = base.__name__
    return AnomalyEngine


def _plan(config: Mapping[str, Any]) -> Config | None:
    if config["Global"].get("eval_mode") != "anomaly":
        return None
    if WHOLE not in config:
        raise ConfigError(
            "Global.eval_mode",
            "anomaly needs the sections Preprocess, Density and Threshold; start from "
            "configs/cutpaste_sspcab.yaml",
        )
    return Config(config[WHOLE])


@contextmanager
def _parallel_with_frozen_parameters(config: Config | None) -> Iterator[None]:
    """Inside the block DataParallel does not wait for the gradients of frozen parameters."""
    whole = paddle.DataParallel
    if config is not None and config.Global.freeze_steps:
        paddle.DataParallel = functools.partial(whole, find_unused_parameters=True)
    try:
        yield
    finally:
        paddle.DataParallel = whole


def _refresh(engine: Any, config: Config) -> None:
    weights = engine.config["Global"]["pretrained_model"]
    if weights is not None:
        _save(engine, config, good_pictures(config), Progress())


def _save(engine: Any, config: Config, pictures: GoodPictures, progress: Progress) -> None:
    network = network_of(engine)
    network.eval()
    unfitted = unfitted_detector(config, network)
    fitted = fit_detector(unfitted, build_threshold(config), config, pictures)
    save_detector(fitted, config, pictures, progress)


def _load_selected(engine: Any, config: Config) -> Progress:
    """Puts the selected weights, averaged ones if they are averaged, into the network."""
    steps = config.Global.epochs * config.Global.iter_per_epoch
    best = config.Global.model_selection == "val_synthetic"
    wait_for_first()
    path = _saved(engine, "best_model" if best else "latest")
    load_into(network_of(engine), read_weights(path), str(path))
    if not best:
        return Progress(step=steps)
    state = paddle.load(str(path.with_suffix(".pdstates")))
    return Progress(steps, best_metric=float(state["metric"]), best_epoch=int(state["epoch"]))


def _saved(engine: Any, name: str) -> Path:
    folder = Path(engine.output_dir)
    # Older versions add the architecture's name to the folder.
    for parent in (folder, folder / engine.config["Arch"]["name"]):
        path = parent / f"{name}.pdparams"
        if path.is_file():
            return path
    raise ModelError(f"{folder}: PaddleClas left no {name}.pdparams there")
