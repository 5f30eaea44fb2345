"""The training loop of one category."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

import paddle
from paddle import distributed, nn
from tqdm import tqdm

from ppcls_sspcab.arch.build import build_network
from ppcls_sspcab.config.config import Config
from ppcls_sspcab.data.build import GoodPictures, build_transforms
from ppcls_sspcab.data.loader import build_train_loader, flatten_views, reporting_dead_readers
from ppcls_sspcab.data.views import CutPasteViews, SampleNumbers
from ppcls_sspcab.detector.build import build_threshold, unfitted_detector
from ppcls_sspcab.engine.checkpoint import TrainingState, load_network, read_checkpoint, trained_on
from ppcls_sspcab.engine.ema import ExponentialMovingAverage
from ppcls_sspcab.engine.identity import PICTURES, training_identity
from ppcls_sspcab.engine.sanity import LossWatch, check_start
from ppcls_sspcab.engine.selection import Diagnosis, Selection
from ppcls_sspcab.engine.step import TrainingStep, build_scaler, diverged
from ppcls_sspcab.engine.training_log import TrainingLog
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.fitting.save import Progress
from ppcls_sspcab.loss.combined import CombinedLoss
from ppcls_sspcab.optimizer import build_optimizer, build_schedule
from ppcls_sspcab.utils.distributed import (
    average_statistics,
    averaged,
    is_first,
    ranks,
    wait_for_first,
)
from ppcls_sspcab.utils.logger import get_logger
from ppcls_sspcab.utils.program import interruptible

Batch = tuple[paddle.Tensor, paddle.Tensor]


class Trainer:
    """Trains the network of one category by CutPaste.

    Everything is built, and so every mistake of the configuration found, before the first picture
    is read.

    Args:
        config: the whole configuration; ``Global.category`` is one category.

    Attributes:
        network: what is trained.
        detector: of this network; not fitted.
        threshold: the method that calibrates the detector.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._run = run = config.Global
        self._augmentations, self._views = build_transforms(config)
        paddle.seed(run.seed)
        self.network = build_network(config, self._views.class_num)
        check_start(self.network, config)
        self._watch = LossWatch(self._views.class_num, config.folder.checkpoint("latest"))
        self._loss = CombinedLoss(config.Loss.Train)
        self._total_steps = run.epochs * run.iter_per_epoch
        self._schedule = build_schedule(
            config.Optimizer, max(1, self._total_steps), run.iter_per_epoch
        )
        self._state = TrainingState(
            network=self.network,
            optimizer=build_optimizer(config.Optimizer, self._schedule, self.network),
            scaler=build_scaler(config),
            ema=ExponentialMovingAverage(self.network, config.EMA.decay) if config.EMA else None,
            progress=Progress(),
            identity=training_identity(config),
        )
        self.detector = unfitted_detector(config, self.network)
        self.threshold = build_threshold(config)
        self._selection = Selection(config, self.detector)

    @property
    def progress(self) -> Progress:
        """Steps done and the best validation figure."""
        return self._state.progress

    def trained_before(self) -> list[str]:
        """Contents of the pictures that trained what is resumed; none of them may be held out.

        Raises:
            ModelError: no such checkpoint, or a damaged one.
        """
        if not self._run.checkpoints:
            return []
        return trained_on(read_checkpoint(self._checkpoint_to_resume())[1])

    def fit(self, pictures: GoodPictures) -> nn.Layer:
        """Runs all steps and returns the network with the selected weights, in evaluation mode.

        Raises:
            UserError: the loss is not finite any more, or a picture cannot be read.
            KeyboardInterrupt: after Ctrl-C or SIGTERM, the step finished and ``latest`` saved.
        """
        self._state.identity[PICTURES] = pictures.train.contents
        preprocess, seed = pictures.train.preprocess, self._run.seed
        wanted = self._run.eval_during_train
        diagnosis = Diagnosis(self._config, preprocess) if wanted else None
        self._begin()
        views = CutPasteViews(pictures.train, self._augmentations, self._views, preprocess, seed)
        step = TrainingStep(self._config, self._state, self._schedule, self._loss, views.view_size)
        batches = self._batches(views)
        folder, done = self._config.folder, self.progress.step
        with (
            closing(TrainingLog(folder, self._run, done)) if is_first() else nullcontext() as log,
            reporting_dead_readers(),
            interruptible() as interrupted,
            self._progress_bar() as bar,
        ):
            while self.progress.step < self._total_steps:
                stop = self._one_step(step, batches, log, interrupted)
                bar.update()
                ends_epoch = self.progress.step % self._run.iter_per_epoch == 0
                if stop or ends_epoch:
                    self._require_finite()
                if stop:
                    average_statistics(self.network)
                    self._save("latest")
                    raise KeyboardInterrupt
                if ends_epoch:
                    self._end_epoch(pictures, diagnosis)
        return self._selected()

    def _begin(self) -> None:
        if self._run.checkpoints:
            self._state.load(self._checkpoint_to_resume(), self._run.resume_changes)
            get_logger().info(f"resuming after step {self.progress.step}")
        elif self._total_steps:
            # A kill in the first epoch must not find the state of an earlier run to resume from.
            self._save("latest")

    def _one_step(
        self,
        step: TrainingStep,
        batches: Iterator[Batch],
        log: TrainingLog | None,
        interrupted: Callable[[], bool],
    ) -> bool:
        """Reads a batch and trains by it; returns whether the training is to stop now."""
        number = self.progress.step
        started = time.perf_counter()
        images, labels = next(batches)
        reader_cost = time.perf_counter() - started
        lr = self._schedule.get_lr()
        figures = step(number, images, labels)
        batch_cost = time.perf_counter() - started
        figures |= {"reader_cost": reader_cost, "batch_cost": batch_cost}
        # The ranks stop together, whichever was asked to.
        figures = averaged({**figures, "interrupted": float(interrupted())})
        stop = figures.pop("interrupted") > 0
        if self.progress.first_loss is None:
            self.progress.first_loss = figures["loss"]
        self._watch.add(figures["loss"], figures["accuracy"])
        self.progress.step += 1
        self.progress.seconds += batch_cost
        if log is not None:
            log.add(number, lr, figures, images.shape[0] * ranks())
        return stop

    def _require_finite(self) -> None:
        broken = self._state.not_finite()
        if broken:
            what = f"{', '.join(broken[:3])} is not finite"
            latest = self._config.folder.checkpoint("latest")
            raise diverged(what, self.progress.step - 1, self._schedule.get_lr(), latest)

    def _end_epoch(self, pictures: GoodPictures, diagnosis: Diagnosis | None) -> None:
        run, epoch = self._run, self.progress.step // self._run.iter_per_epoch
        first_loss = self.progress.first_loss or 0.0
        self._watch.end_epoch(first_loss, self.progress.step - 1, self._schedule.get_lr())
        if epoch == run.epochs:
            self._watch.end(run.category)
        average_statistics(self.network)
        due = epoch % run.eval_interval == 0 and epoch >= run.start_eval_epoch
        if due or epoch == run.epochs:
            with self._averaged():
                average_statistics(self.network)
                figure = self._selection.validate(pictures)
                tested = diagnosis.measure(self.network, pictures) if diagnosis else None
            if tested is not None:
                get_logger().info(
                    f"[Eval][Epoch {epoch}/{run.epochs}] image AUROC on the test pictures: "
                    f"{tested:.5f} (a diagnosis: nothing is selected by it)"
                )
            if figure is not None and self._selection.takes(epoch, figure, self.progress):
                self._save("best")
        self._save("latest")
        if run.save_interval and epoch % run.save_interval == 0:
            self._save(f"epoch_{epoch}")

    def _selected(self) -> nn.Layer:
        ema = self._state.ema
        if self._selection.by_validation and self._total_steps:
            wait_for_first()
            best = self._config.folder.checkpoint("best")
            load_network(self.network, best, averaged=ema is not None)
        elif ema is not None:
            ema.apply()
            average_statistics(self.network)
        self.network.eval()
        return self.network

    def _batches(self, views: CutPasteViews) -> Iterator[Batch]:
        section = self._config.DataLoader.Train
        numbers = SampleNumbers(
            section.sampler.batch_size,
            self._total_steps,
            self.progress.step,
            distributed.get_rank(),
            ranks(),
        )
        loader = build_train_loader(
            views, numbers, self._config.DataLoader.Train.loader.num_workers
        )
        for images, labels in loader:
            yield flatten_views(images, labels)
        # Only reached where the loader's thread ended before its time.
        raise DataError(
            "the reader processes ended before the training: look at the messages above, and lower "
            "DataLoader.Train.loader.num_workers"
        )

    def _progress_bar(self) -> tqdm:
        return tqdm(
            total=self._total_steps,
            initial=self.progress.step,
            desc=self._run.category,
            unit="step",
            disable=None,
        )

    def _averaged(self) -> AbstractContextManager[None]:
        return self._state.ema.applied() if self._state.ema is not None else nullcontext()

    def _save(self, name: str) -> None:
        if is_first():
            self._state.save(self._config.folder.checkpoint(name))

    def _checkpoint_to_resume(self) -> Path:
        wanted = str(self._run.checkpoints)
        named = self._config.folder.checkpoint(wanted)
        return named if named.is_file() or wanted in ("latest", "best") else Path(wanted)
