"""The examples of docs/plugins.md as a user runs them; what is said of incomplete classes."""

from __future__ import annotations

import csv
import importlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
import yaml
from paddle import nn
from scipy.spatial.distance import cdist
from scipy.special import log_softmax

from ppcls_sspcab import registry
from ppcls_sspcab.arch.features import FeatureReader
from ppcls_sspcab.cli.main import main
from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.detector.fitted import FittedLayer, fitted_arrays
from ppcls_sspcab.errors import ModelError
from ppcls_sspcab.registry import Registry

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")
FOUND = re.findall(r"^## (.+?)\n.*?```python\n(.*?)```.*?```yaml\n(.*?)```", PAGE, re.M | re.S)
EXAMPLES = {title: (code, section) for title, code, section in FOUND}
REGISTRIES = [value for value in vars(registry).values() if isinstance(value, Registry)]


def TinyBackbone(pretrained: bool | str = False) -> nn.Layer:
    """Instead of a ResNet, so that an example costs a second."""
    backbone = nn.Sequential(
        ("layer1", nn.Sequential(nn.Conv2D(3, 16, 3, 4, 1), nn.BatchNorm2D(16), nn.ReLU())),
        ("layer2", nn.Sequential(nn.Conv2D(16, 48, 3, 2, 1), nn.BatchNorm2D(48), nn.ReLU())),
        ("layer3", nn.Sequential(nn.Conv2D(48, 48, 3, 2, 1), nn.ReLU(), nn.Conv2D(48, 48, 1))),
    )
    backbone.num_features, backbone.default_replace = 48, "layer3.2"
    return backbone


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The working directory of a user; what a test registers is gone afterwards."""
    for one in REGISTRIES:
        one.names()
        monkeypatch.setattr(one, "_entries", dict(one._entries))
    registry.BACKBONES.register(TinyBackbone)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("my_part", None)
    importlib.invalidate_caches()


def configured(tiny_yaml: Path, section: str, **run: Any) -> str:
    """The page's YAML over a configuration of two steps; its file.

    Where the page says nothing of the network, the image score and the map, they are the ones that
    cost least.
    """
    tree = yaml.safe_load(section)
    if not {"Backbone", "Block", "name"} & set(tree.get("Arch", {})):
        tree = {"Score": {"name": "embedding"}, "Localize": None, **tree}
        network = {"Backbone": {"name": "TinyBackbone"}, "Block": {"replace": "auto"}}
        tree["Arch"] = {**network, **tree.get("Arch", {})}
    tree["_BASE_"] = str(tiny_yaml)
    tree["Global"] |= {"epochs": 1, "iter_per_epoch": 2, "print_batch_step": 1, **run}
    tree.setdefault("DataLoader", {}).setdefault("Train", {})["sampler"] = {"batch_size": 2}
    Path("own.yaml").write_text(yaml.safe_dump(tree))
    return "own.yaml"


def write_part(code: str) -> None:
    Path("my_part.py").write_text(code)
    importlib.invalidate_caches()


def output(tmp_path: Path) -> Path:
    (folder,) = (tmp_path / "output").iterdir()
    return folder


def test_there_is_an_example_for_every_registry_and_each_is_short() -> None:
    for one in REGISTRIES:
        (name,) = [name for name, value in vars(registry).items() if value is one]
        assert f"@{name}.register" in PAGE, f"docs/plugins.md has no example of a {one.kind}"
    for title, (code, section) in EXAMPLES.items():
        assert len(code.splitlines()) + len(section.splitlines()) <= 26, title
        assert len(code.splitlines()) <= 25, title


@pytest.mark.parametrize("title", [title for title in EXAMPLES if title != "Dataset"])
def test_an_example_trains_and_is_evaluated(
    title: str, tiny_yaml: Path, tmp_path: Path, alone: None
) -> None:
    code, section = EXAMPLES[title]
    write_part(code)
    file = configured(tiny_yaml, section)
    assert main(["train", "-c", file]) == 0
    assert main(["eval", "-c", file]) == 0
    check = CHECKS[title]
    assert check(Run(output(tmp_path), file))


class Run:
    """What an example left behind."""

    def __init__(self, folder: Path, file: str) -> None:
        self.folder, self.file = folder, file
        self.results = json.loads((folder / "results.json").read_text())
        self.card = json.loads((folder / "detector.json").read_text())
        with (folder / "results.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        self.labels = np.array([int(row["label"]) for row in rows])
        self.scores = np.array([float(row["score"]) for row in rows])
        self.paths = [row["path"] for row in rows]
        assert np.isfinite(self.scores).all()

    @property
    def detector(self) -> Detector:
        return load_detector(self.folder / "detector.safetensors")

    def column(self, name: str) -> list[float]:
        """A column of train.csv, one value a step."""
        with (self.folder / "train.csv").open(newline="") as stream:
            return [float(row[name]) for row in csv.DictReader(stream)]

    def features(self, name: str) -> np.ndarray:
        """A feature of the test pictures, by the network alone."""
        detector = self.detector
        images = detector.card.preprocess.normalize(
            np.stack([detector.card.preprocess.load(path) for path in self.paths])
        )
        with paddle.no_grad():
            return FeatureReader(detector.network, [name])(paddle.to_tensor(images))[name].numpy()

    def fitted(self, name: str) -> np.ndarray:
        return fitted_arrays(self.detector)[name]


def _nearest(run: Run) -> bool:
    good = run.fitted("image_score.density.good")
    expected = cdist(run.features("embedding"), good).min(axis=1)
    return np.allclose(run.scores, expected, rtol=1e-3, atol=1e-4)


def _distance_from_mean(run: Run) -> bool:
    offsets = run.features("embedding_max") - run.fitted("image_score.mean")
    return np.allclose(run.scores, np.linalg.norm(offsets, axis=1), rtol=1e-3, atol=1e-4)


def _weighted(run: Run) -> bool:
    density = run.detector.image_score.members[0].density.score(run.features("embedding"))
    log_p = log_softmax(run.features("logits").astype(float), axis=1)[:, 0]
    expected = density + 0.2 * np.log(np.expm1(-log_p))
    return np.allclose(run.scores, expected, rtol=1e-3, atol=1e-3)


def _recall(run: Run) -> bool:
    good, bad = (np.sort(run.scores[run.labels == label]) for label in (0, 1))
    place = 0.95 * (len(good) - 1)  # linear between two neighbours
    low, share = int(place), place % 1
    threshold = good[low] + share * (good[min(low + 1, len(good) - 1)] - good[low])
    found = run.results["metrics"]["recall_at_5_percent_alarms"]
    return found == pytest.approx(sum(bad > threshold) / len(bad))


def _margin(run: Run) -> bool:
    words = ["predict", "-c", run.file, run.paths[0], "--output", "verdicts.jsonl"]
    assert main(words) == 0
    verdict = json.loads(Path("verdicts.jsonl").read_text())
    found = run.card["calibration"]
    return verdict["threshold"] == pytest.approx(found["threshold"] + 2 * found["scale"])


# That the part was used, by something that it alone leaves behind.
CHECKS: dict[str, Callable[[Run], bool]] = {
    "Backbone": lambda run: run.detector.network.embedding_size == 48,
    "Block": lambda run: (
        "pixel_auroc" in run.results
        and type(run.detector.network.blocks[0]).__name__ == "BottleneckBlock"
    ),
    "Head": lambda run: run.detector.network.head[0].p == 0.1,
    "Architecture": lambda run: run.detector.network.embedding_size == 96,
    "Loss": lambda run: all(value > 0 for value in run.column("FocalLoss")),
    "Transform": lambda run: "RandomMirror" in (run.folder / "config.yaml").read_text(),
    "View transform": lambda run: run.detector.network.class_num == 2,
    "Density": _nearest,
    "Image score": _distance_from_mean,
    "Image score of several scores": _weighted,
    "Localizer": lambda run: run.fitted("localizer.mean").shape == (48, 4, 4),
    "Threshold": lambda run: (
        run.card["calibration"]["method"] == "Percentile"
        and run.card["calibration"]["pictures"] > 0
    ),
    "Metric": _recall,
    "Post-process": _margin,
    "Optimizer": lambda run: run.column("lr") == [1e-4, 1e-4],
    "Schedule": lambda run: run.column("lr") == pytest.approx([1e-3, 2.5e-4]),
}


def test_a_data_set_lists_what_its_names_say(
    demo_root: Path, tiny_yaml: Path, tmp_path: Path, alone: None
) -> None:
    code, section = EXAMPLES["Dataset"]
    write_part(code)
    parts = tmp_path / "data" / "part"
    parts.mkdir(parents=True)
    for kind in ("train/good", "test/scratch"):
        for picture in (demo_root / "gasket" / kind).iterdir():
            name = "bad" if "scratch" in kind else "good"
            shutil.copy(picture, parts / f"{name}_{picture.name}")
    file = configured(tiny_yaml, section, data_root=str(tmp_path / "data"), category="all")
    assert main(["train", "-c", file]) == 0
    assert main(["eval", "-c", file]) == 0
    counts = json.loads((tmp_path / "output" / "part" / "results.json").read_text())["counts"]
    assert (counts["good"], counts["bad"]) == (5, len(list(parts.glob("bad*"))))


def test_parts_of_ones_own_are_exported(tiny_yaml: Path, tmp_path: Path, alone: None) -> None:
    titles = ["Backbone", "Density", "Image score of several scores", "Threshold"]
    write_part("".join(EXAMPLES[title][0] for title in titles))
    trees = [yaml.safe_load(EXAMPLES[title][1]) for title in titles]
    section = yaml.safe_dump({key: value for tree in trees for key, value in tree.items()})
    file = configured(tiny_yaml, section)
    assert main(["train", "-c", file]) == 0
    # The export compares the scores of both runtimes with the detector's own and fails otherwise.
    assert main(["export", "-c", file]) == 0
    assert (output(tmp_path) / "inference" / "inference.json").is_file()


def test_a_detector_whose_plugin_is_absent_says_to_name_it(
    tiny_yaml: Path, tmp_path: Path, alone: None, capsys: pytest.CaptureFixture[str]
) -> None:
    code, section = EXAMPLES["Image score"]
    write_part(code)
    assert main(["train", "-c", configured(tiny_yaml, section, iter_per_epoch=1)]) == 0
    del registry.IMAGE_SCORES._entries["MeanDistance"]
    detector = output(tmp_path) / "detector.safetensors"
    Path("x.png").touch()
    words = ["predict", "-c", str(tiny_yaml), "x.png", "-o", f"Global.pretrained_model={detector}"]
    capsys.readouterr()
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "unknown image score 'MeanDistance': if it is a plug-in, name its module in" in told
    assert told.count("\n") == 1


INCOMPLETE = {
    "no base": (
        "IMAGE_SCORES",
        "class Part:\n    def forward(self, features, anomaly_map): ...",
        {"Score": {"name": "Part"}},
        "Score.name: the image score my_part.Part must derive from "
        "ppcls_sspcab.detector.scores.base.ImageScore",
    ),
    "no method": (
        "LOCALIZERS",
        "from ppcls_sspcab.detector.localize.base import Localizer\n"
        "class Part(Localizer):\n    needs = ('backbone.layer2',)",
        {"Localize": {"name": "Part"}},
        "Localize.name: the localizer my_part.Part must define distances(cells)",
    ),
    "another signature": (
        "THRESHOLDS",
        "from ppcls_sspcab.detector.threshold.base import Threshold\n"
        "class Part(Threshold):\n    def fit(self): ...",
        {"Threshold": {"name": "Part"}},
        "Threshold.name: the threshold my_part.Part must define fit(good_scores, [bad_scores])",
    ),
    "no argument": (
        "OPTIMIZERS",
        "def Part(parameters, learning_rate): ...",
        {"Optimizer": {"name": "Part", "lr": {"name": "Constant", "learning_rate": 0.1}}},
        "Optimizer.name: the optimizer my_part.Part must take the argument 'weight_decay'",
    ),
    "no attribute": (
        "BACKBONES",
        "from paddle import nn\ndef Part(pretrained=False): return nn.Conv2D(3, 8, 3)",
        {"Arch": {"Backbone": {"name": "Part"}}},
        "Arch.Backbone: the backbone my_part.Part must have the attribute 'num_features'",
    ),
    "no class method": (
        "DATASETS",
        "class Part:\n    def __init__(self, data_root, category): ...\n"
        "    def categories(self, data_root): ...",
        {"DataLoader": {"Train": {"dataset": {"name": "Part"}}}},
        "DataLoader.Train.dataset.name: the dataset my_part.Part must define the class method "
        "categories(data_root)",
    ),
    "no call": (
        "POSTPROCESSES",
        "class Part:\n    def __init__(self, threshold, scale): ...",
        {"Infer": {"PostProcess": {"name": "Part"}}},
        "Infer.PostProcess.name: the post-process my_part.Part must define "
        "__call__(paths, outputs)",
    ),
    "another function": (
        "METRICS",
        "def Part(scores): ...",
        {"Metric": {"Eval": ["Part"]}},
        "Metric.Eval.0: the metric my_part.Part must define __call__(labels, scores)",
    ),
}


@pytest.mark.parametrize("case", INCOMPLETE)
def test_what_a_class_lacks_is_said_before_any_training(
    case: str, tiny_yaml: Path, tmp_path: Path, alone: None, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, code, section, told = INCOMPLETE[case]
    write_part(f"{code}\nfrom ppcls_sspcab.registry import {kind}\n{kind}.register(Part)\n")
    section = {**section, "Global": {"plugins": ["my_part"]}}
    assert main(["train", "-c", configured(tiny_yaml, yaml.safe_dump(section))]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not list((tmp_path / "output").glob("*/checkpoints/*"))


def test_every_registered_class_keeps_its_contract() -> None:
    for one in REGISTRIES:
        for name in one.names():
            one.get(name)


def test_an_array_that_no_file_would_keep_is_refused() -> None:
    class Forgetful(FittedLayer):
        def fit(self) -> None:
            self.mean = paddle.ones([2])

    layer = Forgetful()
    layer.fit()
    with pytest.raises(ModelError, match=r"Forgetful\.mean would not be saved: declare its shape"):
        layer.arrays()


def test_a_misspelt_feature_is_refused_before_any_training(
    tiny_yaml: Path, alone: None, capsys: pytest.CaptureFixture[str]
) -> None:
    code, section = EXAMPLES["Image score"]
    write_part(code.replace('needs = ("embedding_max",)', 'needs = ("embeding_max",)'))
    assert main(["train", "-c", configured(tiny_yaml, section)]) == 2
    assert "unknown feature 'embeding_max'; did you mean 'embedding_max'" in capsys.readouterr().err
