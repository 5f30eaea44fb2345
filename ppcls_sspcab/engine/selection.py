"""Which epoch's weights are kept (``Global.model_selection``); nothing of the test set selects."""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
from paddle import nn

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.data.build import GoodPictures, build_dataset, build_store
from ppcls_sspcab.data.split import held_out_share
from ppcls_sspcab.detector.accelerated import accelerated
from ppcls_sspcab.detector.build import build_threshold, unfitted_detector
from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.fitting.fit import fit_detector
from ppcls_sspcab.fitting.run import stored_image_scores
from ppcls_sspcab.fitting.save import Progress
from ppcls_sspcab.fitting.validation import LEAST_GAIN, synthetic_auroc
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.metric.image import image_auroc
from ppcls_sspcab.utils.distributed import is_first
from ppcls_sspcab.utils.files import atomic_write
from ppcls_sspcab.utils.logger import get_logger


class Selection:
    """Validates epochs on synthetic defects with ``val_synthetic``; else takes the last one.

    Args:
        config: of one category.
        detector: unfitted; its network is the one that is trained.

    Raises:
        ConfigError: ``val_synthetic`` without held-out pictures.
    """

    def __init__(self, config: Config, detector: Detector) -> None:
        self.by_validation = config.Global.model_selection == "val_synthetic"
        if self.by_validation and not held_out_share(config):
            raise ConfigError(
                "Global.model_selection",
                "val_synthetic needs held-out pictures: Threshold.calibrate_on: held_out",
            )
        self._config = config
        self._detector = detector

    def validate(self, pictures: GoodPictures) -> float | None:
        """The figure to select by, larger is better; None where nothing is validated."""
        if not self.by_validation:
            return None
        return synthetic_auroc(self._detector, self._config, pictures)

    def takes(self, epoch: int, figure: float, progress: Progress) -> bool:
        """Whether an epoch, counted from 1, is the one to select now; noted in ``progress``."""
        best = progress.best_metric
        get_logger().info(
            f"[Valid][Epoch {epoch}/{self._config.Global.epochs}] AUROC on synthetic defects: "
            f"{figure:.5f}" + ("" if best is None else f" (best so far: {best:.5f})")
        )
        # An earlier epoch must be clearly better, for little is chance and the last rate is small.
        if best is not None and figure < best - LEAST_GAIN:
            return False
        progress.best_metric = figure if best is None else max(best, figure)
        progress.best_epoch = epoch
        return True


class Diagnosis:
    """Image AUROC on the test pictures while training (``Global.eval_during_train``).

    It is logged and selects nothing; ``diagnosis.json`` keeps the largest one, the figure that
    selection on the test set would have given.

    Args:
        config: of one category; a run that is not resumed forgets an earlier diagnosis.
        preprocess: as the good pictures were read.
    """

    def __init__(self, config: Config, preprocess: Preprocess) -> None:
        self._config = config
        self._record = config.folder.diagnosis
        if not config.Global.checkpoints:
            self._record.unlink(missing_ok=True)
        self._test = build_store(config, build_dataset(config).test, "reading", preprocess)

    def measure(self, network: nn.Layer, pictures: GoodPictures) -> float:
        """Image AUROC, in [0, 1], of a detector fitted with the network in evaluation mode."""
        config = self._config
        network.eval()
        unfitted, threshold = unfitted_detector(config, network), build_threshold(config)
        detector = fit_detector(unfitted, threshold, config, pictures).detector
        batch_size = config.DataLoader.Eval.sampler.batch_size
        with accelerated(detector):
            scores = stored_image_scores(detector, self._test, batch_size, "diagnosing")
        labels = np.array([sample.label for sample in self._test.samples])
        auroc = float(image_auroc(labels, scores))
        if is_first():
            self._keep(auroc)
        return auroc

    def _keep(self, auroc: float) -> None:
        best = auroc
        with suppress(FileNotFoundError):
            text = self._record.read_text(encoding="utf-8")
            best = max(best, json.loads(text)["best_image_auroc"])
        found = {"best_image_auroc": best, "note": "picked on the test set: not a result"}
        atomic_write(self._record, json.dumps(found, indent=2) + "\n")
