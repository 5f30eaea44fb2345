"""From a configuration to the detector of one category."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.data.build import build_dataset, good_pictures, warn_of_masks
from ppcls_sspcab.engine.trainer import Trainer
from ppcls_sspcab.fitting.fit import fit_detector
from ppcls_sspcab.fitting.save import save_detector
from ppcls_sspcab.utils.distributed import is_first
from ppcls_sspcab.utils.files import atomic_write
from ppcls_sspcab.utils.logger import log_file


def train_category(config: Config) -> Path:
    """Trains, fits, calibrates and writes the detector of one category; returns its file.

    Raises:
        ConfigError: a wrong key or value, found before the first picture is read.
        DataError: too few pictures, one that cannot be read, or with ``Global.on_error: stop`` an
            unfit mask.
        UserError: the training diverged.
        KeyboardInterrupt: after Ctrl-C; the checkpoint ``latest`` is written.
    """
    folder = config.folder
    log = log_file(folder.train_log) if is_first() else nullcontext()
    with config.naming_files(), log:
        trainer = Trainer(config)
        if is_first():
            atomic_write(folder.config, config.to_yaml())
        dataset = build_dataset(config)
        warn_of_masks(dataset.test, config)
        pictures = good_pictures(config, dataset.train, trained_on=trainer.trained_before())
        trainer.fit(pictures)
        fitted = fit_detector(trainer.detector, trainer.threshold, config, pictures)
        save_detector(fitted, config, pictures, trainer.progress)
    return folder.detector
