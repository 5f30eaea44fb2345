"""The training loop of one category."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import paddle
from paddle import distributed, nn
from tqdm import tqdm

from ppcls_sspcab.arch.build import build_network
from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.schema import GlobalSection
from ppcls_sspcab.data.build import build_transforms
from ppcls_sspcab.data.loader import build_train_loader, flatten_views, reporting_dead_readers
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.data.views import CutPasteViews, SampleNumbers
from ppcls_sspcab.engine.checkpoint import Progress, TrainingState, load_network
from ppcls_sspcab.engine.ema import ExponentialMovingAverage
from ppcls_sspcab.engine.frozen_stem import FrozenStem
from ppcls_sspcab.engine.training_log import TrainingLog
from ppcls_sspcab.errors import ConfigError, DataError, UserError
from ppcls_sspcab.fitting.validation import LEAST_GAIN
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

Validate = Callable[[nn.Layer], float]


class Trainer:
    """Trains the network of one category by CutPaste.

    Everything is built, and so every mistake of the configuration found, before the first picture
    is read.

    Args:
        config: the whole configuration; ``Global.category`` is one category.
        folder: ``<output_dir>/<category>``; checkpoints and logs go there.
    """

    def __init__(self, config: Config, folder: Path) -> None:
        self.run = config.Global
        self._config = config
        self._folder = folder
        self._augmentations, self._views = build_transforms(config)
        paddle.seed(self.run.seed)
        self.network = build_network(config, self._views.class_num)
        self._loss = CombinedLoss(config.get("Loss.Train"))
        self._total_steps = self.run.epochs * self.run.iter_per_epoch
        self._schedule = build_schedule(
            config["Optimizer"], max(1, self._total_steps), self.run.iter_per_epoch
        )
        self._scaler = self._build_scaler()
        self._stem: FrozenStem | None = None
        # What is called while training; several ranks then have the same gradients.
        self._model = self.network
        self._state = TrainingState(
            network=self.network,
            optimizer=build_optimizer(config["Optimizer"], self._schedule, self.network),
            scaler=self._scaler,
            ema=ExponentialMovingAverage(self.network, config.EMA.decay) if config.EMA else None,
            progress=Progress(),
            identity={
                "category": self.run.category,
                "seed": self.run.seed,
                "epochs": self.run.epochs,
                "iter_per_epoch": self.run.iter_per_epoch,
                "batch_size": config.train_sampler.batch_size * ranks(),
            },
        )

    @property
    def progress(self) -> Progress:
        """Steps done and the best validation figure."""
        return self._state.progress

    def fit(
        self, store: ImageStore, validate: Validate | None, diagnose: Validate | None
    ) -> nn.Layer:
        """Runs all steps and returns the network with the selected weights, in evaluation mode.

        Args:
            store: the good pictures to train on.
            validate: gives the figure that ``val_synthetic`` selects by; larger is better.
            diagnose: gives a figure of the test pictures, which is logged and not kept.

        Raises:
            UserError: the loss is not finite any more, or a picture cannot be read.
            KeyboardInterrupt: after Ctrl-C, the running step finished and ``latest`` saved.
        """
        if self.run.checkpoints:
            self._state.load(self._checkpoint_to_resume())
            get_logger().info(f"resuming after step {self.progress.step}")
        elif self._total_steps:
            # A kill in the first epoch must not find the state of an earlier run to resume from.
            self._save("latest")
        if ranks() > 1:
            if self.run.to_static:
                raise ConfigError("Global.to_static", "is for one process, not for several ranks")
            # Frozen parameters get no gradient, and the others must not wait for it.
            self._model = paddle.DataParallel(
                self.network, find_unused_parameters=self.run.freeze_steps > 0
            )
        log = self._log() if is_first() else None
        try:
            with reporting_dead_readers(), _finishing_the_step() as interrupted:
                self._run_steps(store, validate, diagnose, log, interrupted)
        finally:
            if log is not None:
                log.close()
        return self._selected()

    def _log(self) -> TrainingLog:
        return TrainingLog(
            self._folder,
            self.run.epochs,
            self.run.iter_per_epoch,
            self.run.print_batch_step,
            self.run.use_visualdl,
            self.progress.step,
        )

    def _run_steps(
        self,
        store: ImageStore,
        validate: Validate | None,
        diagnose: Validate | None,
        log: TrainingLog | None,
        interrupted: Callable[[], bool],
    ) -> None:
        views = CutPasteViews(
            store, self._augmentations, self._views, self._config.Preprocess, self.run.seed
        )
        self._stem = FrozenStem.of(self.network, views.view_size)
        batches = self._batches(views)
        with tqdm(
            total=self._total_steps,
            initial=self.progress.step,
            desc=self.run.category,
            unit="step",
            disable=None,
        ) as bar:
            while self.progress.step < self._total_steps:
                step = self.progress.step
                started = time.perf_counter()
                images, labels = next(batches)
                reader_cost = time.perf_counter() - started
                lr = self._schedule.get_lr()
                figures = self._step(step, images, labels)
                batch_cost = time.perf_counter() - started
                figures |= {"reader_cost": reader_cost, "batch_cost": batch_cost}
                # The ranks stop together, whichever was asked to.
                figures = averaged({**figures, "interrupted": float(interrupted())})
                stop = figures.pop("interrupted") > 0
                self.progress.step += 1
                self.progress.seconds += batch_cost
                if log is not None:
                    log.add(step, lr, figures, images.shape[0] * ranks())
                bar.update()
                ends_epoch = self.progress.step % self.run.iter_per_epoch == 0
                broken = self._state.not_finite() if stop or ends_epoch else []
                if broken:
                    raise self._diverged(f"{', '.join(broken[:3])} is not finite", step, lr)
                if stop:
                    average_statistics(self.network)
                    self._save("latest")
                    raise KeyboardInterrupt
                if ends_epoch:
                    epoch = self.progress.step // self.run.iter_per_epoch
                    self._end_epoch(epoch, validate, diagnose)

    def _step(self, step: int, images: paddle.Tensor, labels: paddle.Tensor) -> dict[str, float]:
        begin_step(self.network, self.run, step)
        if self.run.to_static and (self._model is self.network or step == self.run.freeze_steps):
            # A traced program keeps frozen what was frozen when it was traced.
            self._model = paddle.jit.to_static(self.network.forward, full_graph=True)
        self.network.train()
        with self._autocast():
            output = self._forward(images)
            losses = self._loss(output, labels)
        loss = losses["loss"]
        if not math.isfinite(float(loss)):
            raise self._diverged(f"the loss is {float(loss)}", step, self._schedule.get_lr())
        optimizer = self._state.optimizer
        if self._scaler is not None:
            self._scaler.scale(loss).backward()
            self._scaler.step(optimizer)
            self._scaler.update()
        else:
            loss.backward()
            optimizer.step()
        optimizer.clear_grad()
        self._schedule.step()
        if self._state.ema is not None:
            self._state.ema.update()
        figures = {name: float(value) for name, value in losses.items()}
        hits = (output["logits"].argmax(axis=1) == labels.flatten()).astype("float32")
        figures["accuracy"] = float(hits.mean())
        return figures

    def _diverged(self, what: str, step: int, lr: float) -> UserError:
        """The end of a run whose numbers went wrong; nothing of it is saved."""
        return UserError(
            f"{what} at step {step + 1}, lr {lr:.6g}; the last good state is "
            f"{self._checkpoint_path('latest')} - lower Optimizer.lr.learning_rate or set "
            "Optimizer.clip_norm"
        )

    def _forward(self, images: paddle.Tensor) -> dict[str, Any]:
        if self._stem is None:
            return self._model(images)
        features = self._stem(images)
        with self._stem.skipped():
            return self._model(features)

    def _end_epoch(self, epoch: int, validate: Validate | None, diagnose: Validate | None) -> None:
        average_statistics(self.network)
        due = epoch % self.run.eval_interval == 0 and epoch >= self.run.start_eval_epoch
        if due or epoch == self.run.epochs:
            with self._averaged():
                average_statistics(self.network)
                figure = validate(self.network) if validate is not None else None
                tested = diagnose(self.network) if diagnose is not None else None
            if tested is not None:
                get_logger().info(
                    f"[Eval][Epoch {epoch}/{self.run.epochs}] image AUROC on the test pictures: "
                    f"{tested:.5f} (a diagnosis: nothing is selected by it)"
                )
            if figure is not None:
                self._keep_best(epoch, figure)
        self._save("latest")
        if self.run.save_interval and epoch % self.run.save_interval == 0:
            self._save(f"epoch_{epoch}")

    def _keep_best(self, epoch: int, figure: float) -> None:
        best = self.progress.best_metric
        get_logger().info(
            f"[Valid][Epoch {epoch}/{self.run.epochs}] AUROC on synthetic defects: "
            f"{figure:.5f}" + ("" if best is None else f" (best so far: {best:.5f})")
        )
        # An earlier epoch must be clearly better, for little is chance and the last rate is small.
        if best is None or figure >= best - LEAST_GAIN:
            self.progress.best_metric = figure if best is None else max(best, figure)
            self.progress.best_epoch = epoch
            self._save("best")

    def _selected(self) -> nn.Layer:
        if self.run.model_selection == "val_synthetic" and self._total_steps:
            wait_for_first()
            averaged = self._state.ema is not None
            load_network(self.network, self._checkpoint_path("best"), averaged)
        elif self._state.ema is not None:
            for name, value in self._state.ema.shadow.items():
                self.network.state_dict()[name].set_value(value)
            average_statistics(self.network)
        self.network.eval()
        return self.network

    def _batches(self, views: CutPasteViews) -> Iterator[tuple[paddle.Tensor, paddle.Tensor]]:
        numbers = SampleNumbers(
            self._config.train_sampler.batch_size,
            self._total_steps,
            self.progress.step,
            distributed.get_rank(),
            ranks(),
        )
        loader = build_train_loader(views, numbers, self._config.train_loader.num_workers)
        for images, labels in loader:
            yield flatten_views(images, labels)
        # Only reached where the loader's thread ended before its time.
        raise DataError(
            "the reader processes ended before the training: look at the messages above, and lower "
            "DataLoader.Train.loader.num_workers"
        )

    def _build_scaler(self) -> paddle.amp.GradScaler | None:
        amp = self._config.AMP
        if not amp.use_amp or paddle.device.get_device().startswith("cpu"):
            return None  # bfloat16, which a CPU uses, needs no loss scaling
        return paddle.amp.GradScaler(
            init_loss_scaling=amp.scale_loss,
            use_dynamic_loss_scaling=amp.use_dynamic_loss_scaling,
        )

    def _autocast(self) -> AbstractContextManager[Any]:
        if not self._config.AMP.use_amp:
            return nullcontext()
        on_cpu = paddle.device.get_device().startswith("cpu")
        return paddle.amp.auto_cast(level="O1", dtype="bfloat16" if on_cpu else "float16")

    def _averaged(self) -> AbstractContextManager[None]:
        return self._state.ema.applied() if self._state.ema is not None else nullcontext()

    def _save(self, name: str) -> None:
        if is_first():
            self._state.save(self._checkpoint_path(name))

    def _checkpoint_path(self, name: str) -> Path:
        return self._folder / "checkpoints" / f"{name}.safetensors"

    def _checkpoint_to_resume(self) -> Path:
        wanted = str(self.run.checkpoints)
        named = self._checkpoint_path(wanted)
        return named if named.is_file() or wanted in ("latest", "best") else Path(wanted)


def begin_step(network: nn.Layer, run: GlobalSection, step: int) -> None:
    """Seeds Paddle's generator for a step, counted from 0, and holds the backbone in the first."""
    # Layers that draw (dropout in a plug-in's backbone) repeat themselves after a resume.
    paddle.seed(hash((run.seed, step, distributed.get_rank())) & 0x7FFFFFFF)
    if step < run.freeze_steps:
        network.freeze_backbone()
    elif run.freeze_steps:
        network.unfreeze_backbone()


@contextmanager
def _finishing_the_step() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C into a flag that the loop asks for; the second one stops at once."""
    asked = False

    def on_interrupt(number: int, frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        get_logger().info("finishing the step and saving; press Ctrl-C again to stop at once")

    try:
        previous = signal.signal(signal.SIGINT, on_interrupt)
    except ValueError:  # not in the main thread, where signals do not arrive
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, previous)
