"""The sections of a configuration: keys, defaults, ranges."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from ppcls_sspcab.paths import check_category

LARGEST_BATCH = 65536

MOST_WORKERS = 256


@dataclasses.dataclass(frozen=True)
class GlobalSection:
    """Section ``Global``: what a user sets first, and the length and rhythm of a run.

    Attributes:
        data_root: folder of the data set; relative to the working directory.
        category: the product to inspect, or ``all``: each category in turn.
        output_dir: results go to ``<output_dir>/<category>/``.
        device: ``auto`` takes the GPU where Paddle has one.
        seed: every random number of a run follows from it.
        plugins: modules imported before anything is built; they register their own classes.
        epochs: number of epochs; 0 trains nothing: the baseline of the weights as they are.
        iter_per_epoch: steps of one epoch.
        freeze_steps: first steps in which the pretrained backbone, BN statistics too, stays.
        print_batch_step: steps between two log lines.
        save_interval: epochs between two ``epoch_N`` checkpoints; 0 keeps only ``latest``.
        eval_interval: epochs between two validations (and test evaluations, if asked for).
        eval_during_train: also evaluates on the test set while training: a diagnosis in the log
            that selects nothing.
        start_eval_epoch: no validation before this epoch.
        model_selection: ``last`` step, or ``val_synthetic``: the latest epoch of which no other is
            clearly better (by 0.01) in its AUROC on held-out good pictures against synthetic
            defects made from them.
        checkpoints: checkpoint to resume from: a path, or ``latest``.
        pretrained_model: the detector that evaluating, predicting and exporting take; default
            ``<output_dir>/<category>/detector.safetensors``. Training starts from
            ``Arch.pretrained``.
        cache_mb: bound of the decoded pictures kept in memory, in MiB.
        on_error: what an unreadable picture does: ``stop``, or ``skip`` and be listed.
        use_visualdl: also writes VisualDL scalars.
        to_static: trains with the network as a static graph; the losses are the same.
        save_inference_dir: folder of the exported model; default
            ``<output_dir>/<category>/inference``.
        engine: ``builtin``, or ``paddleclas``: the verbs run PaddleClas's own engine, of the
            checkout that the environment's ``PADDLECLAS_HOME`` names.
        paddleclas: further keys of section ``Global`` for PaddleClas's engine, such as
            ``{update_freq: 2}``; the built-in one does not read them.
    """

    data_root: str = "dataset"
    category: str = "all"
    output_dir: str = "output"
    device: Literal["auto", "cpu", "gpu"] = "auto"
    seed: int = 0
    plugins: list[str] = dataclasses.field(default_factory=list)
    epochs: int = 1
    iter_per_epoch: int = 256
    freeze_steps: int = 0
    print_batch_step: int = 10
    save_interval: int = 0
    eval_interval: int = 1
    eval_during_train: bool = False
    start_eval_epoch: int = 0
    model_selection: Literal["last", "val_synthetic"] = "last"
    checkpoints: str | None = None
    pretrained_model: str | None = None
    cache_mb: int = 2048
    on_error: Literal["stop", "skip"] = "stop"
    use_visualdl: bool = False
    to_static: bool = False
    save_inference_dir: str | None = None
    engine: Literal["builtin", "paddleclas"] = "builtin"
    paddleclas: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _at_least(self, epochs=0, iter_per_epoch=1, print_batch_step=1, eval_interval=1)
        _at_least(self, seed=0, freeze_steps=0, save_interval=0, start_eval_epoch=0, cache_mb=0)
        for name in ("data_root", "output_dir"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
        if not self.category:
            raise ValueError("category must not be empty; 'all' runs through every category")
        check_category(self.category)
        if self.pretrained_model and self.category == "all":
            raise ValueError("pretrained_model is one category's detector, and category is 'all'")
        if self.pretrained_model and self.engine == "paddleclas":
            raise ValueError(
                "pretrained_model is for the built-in engine; PaddleClas's takes weights from "
                "Global.paddleclas.pretrained_model"
            )


@dataclasses.dataclass(frozen=True)
class AMPSection:
    """Section ``AMP``: mixed precision, for a GPU: on a CPU, Paddle 3.3.1 may cast nothing."""

    use_amp: bool = False
    level: Literal["O1"] = "O1"
    scale_loss: float = 1024.0
    use_dynamic_loss_scaling: bool = True


@dataclasses.dataclass(frozen=True)
class EMASection:
    """Section ``EMA``: exponential moving average of the weights, which then is what is kept."""

    decay: float

    def __post_init__(self) -> None:
        if not 0 < self.decay < 1:
            raise ValueError(f"decay must lie between 0 and 1, not {self.decay}")


@dataclasses.dataclass(frozen=True)
class SamplerSection:
    """Section ``DataLoader.*.sampler``: ``batch_size`` source pictures a step and process."""

    batch_size: int

    def __post_init__(self) -> None:
        _at_least(self, batch_size=1)
        _at_most(self, batch_size=LARGEST_BATCH)


@dataclasses.dataclass(frozen=True)
class LoaderSection:
    """Section ``DataLoader.*.loader``: reader processes; 0 reads in the training process."""

    num_workers: int = 0

    def __post_init__(self) -> None:
        _at_least(self, num_workers=0)
        _at_most(self, num_workers=MOST_WORKERS)


@dataclasses.dataclass(frozen=True)
class CalibrationPlan:
    """The part of section ``Threshold`` that says which good pictures calibrate it.

    Attributes:
        calibrate_on: ``held_out`` pictures, which neither trained the network nor fitted the
            density, or ``k_fold``: every picture is scored by a density fitted on the others.
        held_out_share: share of the good training pictures held out.
        folds: number of folds for ``k_fold``.
        validation: ``{good: FOLDER, bad: FOLDER}``, for methods that need bad pictures too.
        pixel_fpr: share of the pixels of good pictures that may lie above the pixel threshold of
            the anomaly map.
    """

    calibrate_on: Literal["held_out", "k_fold"] = "held_out"
    held_out_share: float = 0.2
    folds: int = 5
    validation: dict[str, str] | None = None
    pixel_fpr: float = 0.005

    def __post_init__(self) -> None:
        if not 0 < self.pixel_fpr < 1:
            raise ValueError(f"pixel_fpr must lie between 0 and 1, not {self.pixel_fpr}")
        if not 0 <= self.held_out_share < 1:
            raise ValueError(f"held_out_share must lie in [0, 1), not {self.held_out_share}")
        if self.calibrate_on == "held_out" and not self.held_out_share:
            raise ValueError("held_out_share must be above 0 when calibrate_on is held_out")
        _at_least(self, folds=2)
        if self.validation is not None and set(self.validation) != {"good", "bad"}:
            raise ValueError("validation must be {good: FOLDER, bad: FOLDER}")


@dataclasses.dataclass(frozen=True)
class TilingSection:
    """Section ``Tiling``: the network sees tiles of a large picture.

    Attributes:
        size: (height, width) of a tile in pixels; a picture is ``Preprocess.image_size``.
        overlap: the least share of a tile's side that neighbours have in common.
    """

    size: list[int]
    overlap: float = 0.25

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"size must be [height, width], not {self.size}")
        if not 0 <= self.overlap <= 0.75:
            raise ValueError(f"overlap must lie in 0..0.75, not {self.overlap}")


@dataclasses.dataclass(frozen=True)
class InferSection:
    """Section ``Infer``: what ``tools/infer.py`` reads and how many pictures go at once."""

    infer_imgs: str | None = None
    batch_size: int = 16
    PostProcess: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        _at_least(self, batch_size=1)
        _at_most(self, batch_size=LARGEST_BATCH)


REQUIRED = (
    "Global",
    "Preprocess",
    "Arch",
    "Loss",
    "Optimizer",
    "DataLoader",
    "Density",
    "Threshold",
)

OPTIONAL = ("AMP", "EMA", "Metric", "Infer", "Score", "Localize", "Tiling")


def _at_least(section: Any, **bounds: int) -> None:
    for name, bound in bounds.items():
        if getattr(section, name) < bound:
            raise ValueError(f"{name} must be at least {bound}, not {getattr(section, name)}")


def _at_most(section: Any, **bounds: int) -> None:
    for name, bound in bounds.items():
        if getattr(section, name) > bound:
            raise ValueError(f"{name} must be at most {bound}, not {getattr(section, name)}")
