"""Names of everything that a run writes below ``output_dir``: each stands here, once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

# In a folder that one process at a time may write: its lock, and who holds it.
LOCK_FILE = ".lock"
HOLDER_FILE = ".lock.holder"

# Files of an exported model.
CARD_FILE = "inference.yml"
PADDLE_FILES = ("inference.json", "inference.pdiparams")
ONNX_FILE = "model.onnx"
INT8_FILE = "model_int8.onnx"


class RunFolder:
    """``<output_dir>/<category>``: what training, evaluating and exporting one category write."""

    # Unfinished files of a killed run; only the holder of the folder's lock writes such files.
    UNFINISHED: ClassVar[tuple[str, ...]] = (
        "checkpoints/.*.part",
        "plots/.*.part",
        "versions/.*.part",
        ".config-*.part",
        ".detector-*.part",
        ".inference-*.part",
        ".report-*.part",
        ".results-*.part",
        ".train-*.part",
    )

    def __init__(self, output_dir: str, category: str) -> None:
        self.root = Path(output_dir) / category
        self.config = self.root / "config.yaml"  # the whole one, inheritance resolved
        self.train_log = self.root / "train.log"
        self.train_csv = self.root / "train.csv"  # its figures, a row for each line of the log
        self.visualdl = self.root / "vdl"
        self.detector = self.root / "detector.safetensors"
        self.inference = self.root / "inference"  # folder of the exported model
        self.results_json = self.root / "results.json"
        self.results_csv = self.root / "results.csv"
        self.results_md = self.root / "results.md"
        self.plots = self.root / "plots"
        self.report = self.root / "report.html"
        self.predictions = self.root / "predictions.jsonl"  # of the demo
        self.versions = self.root / "versions"  # earlier detectors, and what was made of them
        self.diagnosis = self.root / "diagnosis.json"  # best AUROC on the test set; no result

    @property
    def of_detector(self) -> tuple[Path, ...]:
        """The detector's files, and what was measured of it."""
        results = (self.results_json, self.results_csv, self.results_md, self.plots, self.report)
        return (self.detector, self.detector.with_suffix(".json"), *results)

    def checkpoint(self, name: str) -> Path:
        """The checkpoint ``latest``, ``best`` or ``epoch_N``."""
        return self.root / "checkpoints" / f"{name}.safetensors"


def summary_file(output_dir: str) -> Path:
    """The table over the categories that an evaluation of ``category: all`` writes."""
    return Path(output_dir) / "results.md"


class StudyRunFolder(RunFolder):
    """The folder of one run of a study: :class:`RunFolder`, and how the run itself went."""

    def __init__(self, output_dir: str, category: str) -> None:
        super().__init__(output_dir, category)
        self.run_config = self.root / "run.yaml"
        self.run_state = self.root / "run.json"  # done or failed, seconds and memory
        self.run_log = self.root / "run.log"  # everything that its process printed


class StudyFolder:
    """What a study writes: its runs, and the tables over them."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self.csv = self.root / "study.csv"
        self.json = self.root / "study.json"
        self.markdown = self.root / "study.md"
        self.page = self.root / "study.html"

    def run(self, recipe: str, seed: int, category: str) -> StudyRunFolder:
        """The folder of one recipe with one seed on one category."""
        return StudyRunFolder(str(self.root / "runs" / recipe / f"seed_{seed}"), category)


def shipped_config(name: str) -> Path | None:
    """The file ``name`` below ``configs/``, which travels with the package; None without one."""
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    # In a checkout configs/ lies beside the package.
    configs = installed if installed.is_dir() else package.parent / "configs"
    path = configs / name
    return path if path.is_file() else None


def check_category(name: str) -> None:
    """Refuses a category whose results would not lie in a folder below ``output_dir``.

    Raises:
        ValueError: it is a path.
    """
    if name in (".", "..") or any(character in name for character in "/\\\0"):
        raise ValueError(
            f"category must be the name of one folder, not a path: {name!r}; the path to it is "
            "data_root"
        )
