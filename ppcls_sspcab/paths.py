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
    """``<output_dir>/<category>``: what training, evaluating and exporting one category write.

    Attributes:
        root: the folder itself.
        config: the whole configuration, inheritance resolved.
        train_log, train_csv: the training's log, and its figures a row a line of the log.
        visualdl: folder of the VisualDL scalars.
        detector: the trained, calibrated detector.
        inference: folder of the exported model.
        results_json, results_csv, results_md: what an evaluation found.
        plots: folder of the evaluation's plots.
        report: the page of ``eval --report``.
        predictions: scores that the demo writes.
        diagnosis: the best figure on the test pictures while training; no result.
    """

    # Half files of a killed run, as patterns: only who holds the folder's lock writes them.
    UNFINISHED: ClassVar[tuple[str, ...]] = (
        "checkpoints/.*.part",
        "plots/.*.part",
        ".config-*.part",
        ".detector-*.part",
        ".inference-*.part",
        ".report-*.part",
        ".results-*.part",
        ".train-*.part",
    )

    def __init__(self, output_dir: str, category: str) -> None:
        self.root = Path(output_dir) / category
        self.config = self.root / "config.yaml"
        self.train_log = self.root / "train.log"
        self.train_csv = self.root / "train.csv"
        self.visualdl = self.root / "vdl"
        self.detector = self.root / "detector.safetensors"
        self.inference = self.root / "inference"
        self.results_json = self.root / "results.json"
        self.results_csv = self.root / "results.csv"
        self.results_md = self.root / "results.md"
        self.plots = self.root / "plots"
        self.report = self.root / "report.html"
        self.predictions = self.root / "predictions.jsonl"
        self.diagnosis = self.root / "diagnosis.json"

    def checkpoint(self, name: str) -> Path:
        """The checkpoint ``latest``, ``best`` or ``epoch_N``."""
        return self.root / "checkpoints" / f"{name}.safetensors"


def summary_file(output_dir: str) -> Path:
    """The table over the categories that an evaluation of ``category: all`` writes."""
    return Path(output_dir) / "results.md"


class StudyRunFolder(RunFolder):
    """The folder of one run of a study: :class:`RunFolder`, and how the run itself went.

    Attributes:
        run_config: the run's configuration, before training resolves it.
        run_state: whether it runs, ended or failed, how long it took and what memory.
        run_log: everything that its process printed.
    """

    def __init__(self, output_dir: str, category: str) -> None:
        super().__init__(output_dir, category)
        self.run_config = self.root / "run.yaml"
        self.run_state = self.root / "run.json"
        self.run_log = self.root / "run.log"


class StudyFolder:
    """What a study writes: its runs, and the tables over them.

    Attributes:
        csv, json, markdown, page: the tables, the last one as a page of HTML.
    """

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
    """A configuration that travels with the package.

    Args:
        name: its path below ``configs/``, such as ``cutpaste_sspcab_cpu.yaml``.

    Returns:
        the file, or None if there is none of this name.
    """
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
