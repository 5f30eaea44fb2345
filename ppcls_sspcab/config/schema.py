"""The sections of a configuration: every key with its type, default, range and meaning.

A key's description stands here and nowhere else: ``ppcls-sspcab schema`` hands it to editors and
``docs/configuration.md`` is written from it. Sections that name a registered class (``Arch``,
``Density``...) are plain mappings here; the registries check them against the class's constructor.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.paths import check_category

LARGEST_BATCH = 65536
MOST_WORKERS = 256


class Section(BaseModel):
    """A mapping of known keys; a section that is null in the YAML has all its defaults."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        protected_namespaces=(),
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_empty(cls, values: Any) -> Any:
        return {} if values is None else values


Text = Annotated[str, Field(min_length=1)]
BatchSize = Annotated[int, Field(ge=1, le=LARGEST_BATCH)]


class GlobalSection(Section):
    """What a user sets first, and the length and rhythm of a run."""

    data_root: Text = "dataset"
    """Folder of the data set, or a CSV file; relative to the working directory."""
    category: Text = "all"
    """The product to inspect, or `all`: each category of the data set in turn."""
    output_dir: Text = "output"
    """Results go to `<output_dir>/<category>/`."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """`auto` takes the GPU where Paddle has one."""
    seed: int = Field(default=0, ge=0)
    """Every random number of a run follows from it."""
    plugins: list[str] = []
    """Modules imported before anything is built; they register classes of your own."""
    epochs: int = Field(default=1, ge=0)
    """Number of epochs; 0 trains nothing: the baseline of the weights as they are."""
    iter_per_epoch: int = Field(default=256, ge=1)
    """Steps of one epoch."""
    freeze_steps: int = Field(default=0, ge=0)
    """First steps in which the pretrained backbone stays as it is, BatchNorm statistics too."""
    print_batch_step: int = Field(default=10, ge=1)
    """Steps between two lines of the log."""
    save_interval: int = Field(default=0, ge=0)
    """Epochs between two `epoch_N` checkpoints; 0 keeps only `latest`, written after each epoch."""
    eval_interval: int = Field(default=1, ge=1)
    """Epochs between two validations (and evaluations on the test set, if asked for)."""
    eval_during_train: bool = False
    """Also measures the AUROC on the test set while training: a figure in the log, the largest in
    `diagnosis.json`; nothing is selected by it."""
    start_eval_epoch: int = Field(default=0, ge=0)
    """No validation before this epoch."""
    model_selection: Literal["last", "val_synthetic"] = "last"
    """`last` step; or `val_synthetic`: the latest epoch of which no other is better, by more than
    0.01, in its AUROC on held-out good pictures against synthetic defects made from them."""
    checkpoints: str | None = None
    """Checkpoint to resume from: `latest`, `best`, `epoch_N` or a path; with `category: all`,
    categories that have no `latest` begin anew."""
    resume_changes: list[str] = []
    """What may differ from the run that made the checkpoint: keys or sections, such as
    `[Optimizer, Loss.Train.0.CELoss.weight]`, or `pictures`. All else that decides the weights is
    held to the checkpoint."""
    overwrite: bool = False
    """`train` and `refit` replace an earlier detector, and what was made of it, for good; else it
    is kept in `<output_dir>/<category>/versions`."""
    pretrained_model: str | None = None
    """The detector that `eval`, `predict` and `export` take; default
    `<output_dir>/<category>/detector.safetensors`. Training starts from `Arch.pretrained`."""
    cache_mb: int = Field(default=2048, ge=0)
    """Bound of the decoded pictures kept in memory, in MiB."""
    on_error: Literal["stop", "skip"] | None = None
    """What an unreadable picture and an unfit mask do: `stop`; or `skip`: they are left out and
    listed; null: a picture stops the run, a mask is left out of the pixel metrics."""
    use_visualdl: bool = False
    """Also writes scalars for VisualDL."""
    to_static: bool = False
    """Trains with the network as a static graph, in one process; the losses are the same."""
    save_inference_dir: str | None = None
    """Folder of the exported model; default `<output_dir>/<category>/inference`."""
    engine: Literal["builtin", "paddleclas"] = "builtin"
    """`paddleclas`: the verbs run PaddleClas's own engine, of the checkout that the environment's
    `PADDLECLAS_HOME` names; see [paddleclas.md](paddleclas.md)."""
    paddleclas: dict[str, Any] = {}
    """Further keys of section `Global` for PaddleClas's engine, such as `{update_freq: 2}`; the
    built-in one does not read them."""

    @field_validator("category")
    @classmethod
    def _within_output_dir(cls, category: str) -> str:
        check_category(category)
        return category

    @field_validator("model_selection", mode="before")
    @classmethod
    def _not_on_the_test_set(cls, selection: Any) -> Any:
        if "test" in str(selection):
            raise ValueError(
                "nothing may select a model on the test set: the figures measured there would "
                "then be too good (about 4 points of AUROC on MVTec AD); use 'last' or "
                "'val_synthetic'"
            )
        return selection

    @model_validator(mode="after")
    def _one_detector(self) -> GlobalSection:
        if self.pretrained_model and self.category == "all":
            raise ValueError("pretrained_model is one category's detector, and category is 'all'")
        if self.pretrained_model and self.engine == "paddleclas":
            raise ValueError(
                "pretrained_model is for the built-in engine; PaddleClas's takes weights from "
                "Global.paddleclas.pretrained_model"
            )
        return self


class LossSection(Section):
    """The losses whose weighted sum is trained."""

    Train: list[Any]
    """Losses, each with its `weight`: `[{CELoss: {weight: 1.0}}, {SSPCABLoss: {weight: 0.1}}]`."""
    Eval: Any = None
    """A key of PaddleClas's; not read."""


class MetricSection(Section):
    """What an evaluation measures besides its own figures."""

    Train: Any = None
    """A key of PaddleClas's; not read."""
    Eval: list[Any] | None = None
    """Names of further registered metrics."""


class SamplerSection(Section):
    """How many pictures go at once."""

    batch_size: BatchSize
    """Source pictures a step and process; 3-way CutPaste makes three training inputs of each."""


class LoaderSection(Section):
    """Who reads the pictures."""

    num_workers: int = Field(default=0, ge=0, le=MOST_WORKERS)
    """Reader processes; 0 reads in the training process."""


class TrainLoaderSection(Section):
    """The pictures to train on."""

    dataset: dict[str, Any]
    """The registered data set by its `name`, and the `transform_ops`; see [data.md](data.md)."""
    sampler: SamplerSection
    loader: LoaderSection = LoaderSection()


class EvalLoaderSection(Section):
    """The pictures that are only scored."""

    sampler: SamplerSection


class DataLoaderSection(Section):
    """The pictures, and how many go at once."""

    Train: TrainLoaderSection
    Eval: EvalLoaderSection


class ThresholdSection(Section):
    """The method of the threshold, its arguments, and which good pictures calibrate it."""

    model_config = ConfigDict(extra="allow")

    calibrate_on: Literal["held_out", "k_fold"] = "held_out"
    """`held_out` pictures, which neither trained the network nor fitted the density; or `k_fold`:
    every picture is scored by a density fitted on the others."""
    held_out_share: float = Field(default=0.2, ge=0, lt=1)
    """Share of the good training pictures held out."""
    folds: int = Field(default=5, ge=2)
    """Number of folds for `k_fold`."""
    validation: dict[str, str] | None = None
    """`{good: FOLDER, bad: FOLDER}`, for methods that need bad pictures too."""
    pixel_fpr: float = Field(default=0.005, gt=0, lt=1)
    """Share of the pixels of good pictures that may lie above the anomaly map's threshold."""

    @property
    def method(self) -> dict[str, Any]:
        """The registered class and its arguments, ``{"name": ..., argument: value}``."""
        return dict(self.model_extra or {})

    @field_validator("validation")
    @classmethod
    def _two_folders(cls, folders: dict[str, str] | None) -> dict[str, str] | None:
        if folders is not None and set(folders) != {"good", "bad"}:
            raise ValueError("must be {good: FOLDER, bad: FOLDER}")
        return folders

    @model_validator(mode="after")
    def _some_are_held_out(self) -> ThresholdSection:
        if self.calibrate_on == "held_out" and not self.held_out_share:
            raise ValueError("held_out_share must be above 0 when calibrate_on is held_out")
        return self


class InferSection(Section):
    """What predicting reads, and how many pictures go at once."""

    infer_imgs: str | None = None
    """Pictures where the command line names none: a file, folder, glob or `.txt` list."""
    batch_size: BatchSize = 16
    """Pictures scored at once."""
    PostProcess: dict[str, Any] | None = None
    """The registered class that turns scores into records; default `AnomalyDecision`."""


class AMPSection(Section):
    """Mixed precision, for a GPU: on a CPU, Paddle 3.3.1 may cast nothing."""

    use_amp: bool = False
    """Trains in mixed precision."""
    level: Literal["O1"] = "O1"
    """Paddle's level; the weights stay float32."""
    scale_loss: float = 1024.0
    """First factor of the loss, against gradients that float16 rounds to 0."""
    use_dynamic_loss_scaling: bool = True
    """The factor follows the gradients."""


class EMASection(Section):
    """Exponential moving average of the weights, which then is what is kept."""

    decay: float = Field(gt=0, lt=1)
    """Share of the average that stays at each step."""


class TilingSection(Section):
    """The network sees tiles of a large picture, whose size is `Preprocess.image_size`."""

    size: list[int] = Field(min_length=2, max_length=2)
    """[height, width] of a tile in pixels."""
    overlap: float = Field(default=0.25, ge=0, le=0.75)
    """The least share of a tile's side that neighbours have in common."""

    @field_validator("size")
    @classmethod
    def _has_pixels(cls, size: list[int]) -> list[int]:
        if min(size) < 1:
            raise ValueError(f"must be [height, width] of at least 1 pixel, not {size}")
        return size


class ToleranceSection(Section):
    """Changes of a good picture that leave it good: a lamp that ages, a camera that was touched.

    Lengths are pixels of a picture whose shorter side has 256, so they are the same share of the
    picture at any `Preprocess.image_size`.
    """

    brightness: float = Field(default=0.05, ge=0, le=0.5)
    """Factor of brightness within 1 ± this."""
    contrast: float = Field(default=0.05, ge=0, le=0.5)
    """Factor of contrast, about the picture's mean, within 1 ± this."""
    white_balance: float = Field(default=0.02, ge=0, le=0.5)
    """Factors of red and of blue within 1 ± this; grey pictures stay grey."""
    shift: float = Field(default=2.0, ge=0, le=32)
    """Largest shift along each side; without `turn` rounded up to whole pixels of the network's
    picture, so that nothing is resampled."""
    turn: float = Field(default=0.0, ge=0, le=45)
    """Largest angle to either side, in degrees."""
    blur: float = Field(default=0.0, ge=0, le=8)
    """Largest standard deviation of a Gaussian blur: what is tolerated may hide a defect."""
    jpeg: int | None = Field(default=75, ge=1, le=100)
    """Lowest quality of JPEG, at the network's size; null: not compressed."""


def _preprocess(values: Any) -> Preprocess:
    try:
        return Preprocess.from_dict({} if values is None else values)
    except ConfigError as error:
        key = error.key if error.key == "Preprocess" else f"Preprocess.{error.key}"
        raise ConfigError(key, error.message) from error


class Sections(Section):
    """All sections of a configuration."""

    Global: GlobalSection
    Preprocess: Annotated[Preprocess, BeforeValidator(_preprocess)]
    """How a picture becomes the network's input; it travels with the detector and the export."""
    Arch: dict[str, Any]
    """The network: backbone, block, head, and the weights to start from."""
    Loss: LossSection
    Optimizer: dict[str, Any]
    """The optimizer, its schedule `lr`, weight decay and clipping."""
    DataLoader: DataLoaderSection
    Density: dict[str, Any]
    """How far an embedding lies from those of good pictures."""
    Score: dict[str, Any] | None = None
    """The image score; see [localization.md](localization.md)."""
    Localize: dict[str, Any] | None = None
    """The anomaly map; null: none. See [localization.md](localization.md)."""
    Threshold: ThresholdSection
    Metric: MetricSection = MetricSection()
    Infer: InferSection = InferSection()
    AMP: AMPSection = AMPSection()
    EMA: EMASection | None = None
    """Exponential moving average of the weights, which then is what is kept; null: none."""
    Tiling: TilingSection | None = None
    """The network sees tiles of large pictures; null: whole pictures."""
    Tolerance: ToleranceSection | None = None
    """Changes that leave a good picture good; null: none. See [tolerance.md](tolerance.md)."""
