"""Every key of every shipped YAML, spoilt: one line that names the key, and never a traceback."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from paddle import nn

from ppcls_sspcab.cli.main import main
from ppcls_sspcab.engine.trainer import Trainer
from ppcls_sspcab.errors import OutputError
from ppcls_sspcab.utils.weights import write_safetensors

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SHIPPED = sorted(CONFIGS.rglob("*.yaml"))
IMPOSSIBLE = ("nonsense", -7, float("nan"), 10**30, {"x": 1})
# Where one of the above has a meaning.
FREE = {
    ("Global", "output_dir"): ("nonsense",),
    ("Optimizer", "lr", "learning_rate"): (10**30,),  # stops at the first loss that is not finite
}
# An error that names a key.
SECTION = r": (Global|Arch|Loss|Optimizer|DataLoader|Density|Threshold|Localize|Tiling|Tolerance)\b"

Path_ = tuple[Any, ...]
WEIGHTS = "weights.safetensors"


class TinyResNet(nn.Layer):
    """The layers that the shipped files name, quickly built."""

    def __init__(self, **_: Any) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2D(3, 32, 3, 2, 1), nn.BatchNorm2D(32)
        self.layer1, self.layer2 = nn.Conv2D(32, 32, 3, 2, 1), nn.Conv2D(32, 32, 3, 2, 1)
        self.layer3 = nn.Sequential(TinyBlock(), TinyBlock())
        self.layer4 = nn.Sequential(TinyBlock(), TinyBlock())

    def forward(self, x: Any) -> Any:
        return self.layer4(self.layer3(self.layer2(self.layer1(self.bn1(self.conv1(x))))))


class TinyBlock(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(32, 32, 3, 1, 1)

    def forward(self, x: Any) -> Any:
        return self.conv1(x)


class Accepted(OutputError):  # which ends a run of several categories at once
    """Raised where training would begin."""


@pytest.fixture(autouse=True)
def _nothing_is_trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fit(*_: object) -> None:
        raise Accepted("accepted")

    monkeypatch.setattr(Trainer, "fit", fit)
    monkeypatch.setattr("paddle.vision.models.resnet18", TinyResNet)
    monkeypatch.chdir(tmp_path)
    weights = {key: value.numpy() for key, value in TinyResNet().state_dict().items()}
    write_safetensors(tmp_path / WEIGHTS, weights, {})


def tree_of(file: Path, data: Path) -> dict[str, Any]:
    """The file's own keys; data, size and device such that it can be built here at once."""
    tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    if "_BASE_" in tree:
        tree["_BASE_"] = str((file.parent / tree["_BASE_"]).resolve())
    tree.setdefault("Global", {}).update({"data_root": str(data), "device": "cpu"})
    tree.setdefault("Arch", {})["pretrained"] = WEIGHTS
    tree.setdefault("Preprocess", {})["image_size"] = [32, 32]
    if "Tiling" in tree:
        tree["Tiling"]["size"] = [32, 32]
    if "patch_size" in (tree.get("Localize") or {}):
        tree["Localize"] |= {"patch_size": 16, "channels": 8}
    return tree


def paths(tree: Any, path: Path_ = ()) -> Iterator[Path_]:
    items: Any = ()
    if isinstance(tree, (dict, list)):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        yield (*path, key)
        yield from paths(value, (*path, key))


def spoilt(tree: dict[str, Any], path: Path_, value: Any) -> dict[str, Any]:
    tree = copy.deepcopy(tree)
    _parent(tree, path)[path[-1]] = value
    return tree


def misspelt(tree: dict[str, Any], path: Path_, name: str) -> dict[str, Any]:
    tree = copy.deepcopy(tree)
    parent = _parent(tree, path)
    items = [(name if key == path[-1] else key, value) for key, value in parent.items()]
    parent.clear()
    parent.update(items)
    return tree


def _parent(tree: Any, path: Path_) -> Any:
    for key in path[:-1]:
        tree = tree[key]
    return tree


def outcome(tree: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that ``train`` ends with."""
    file = Path("spoilt.yaml")
    file.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    capsys.readouterr()
    assert main(["train", "-c", str(file)]) == 2
    (line,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error: ")]
    return line


@pytest.mark.slow
@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: str(file.relative_to(CONFIGS)))
def test_a_spoilt_key_is_named(
    file: Path, demo_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = tree_of(file, demo_root)
    own = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert outcome(tree, capsys) == "error: accepted"
    for path in paths(own):
        named = [str(key) for key in path if isinstance(key, str)][-2:]
        if path[0] == "_BASE_":
            line = outcome(spoilt(tree, path, "nowhere.yaml"), capsys)
            assert "nowhere.yaml: no such file" in line
            continue
        for value in IMPOSSIBLE:
            if value in FREE.get(path, ()):
                continue
            line = outcome(spoilt(tree, path, value), capsys)
            # A mapping merges, and another key may be the one that no longer fits.
            elsewhere = value == {"x": 1} and re.search(SECTION, line)
            assert elsewhere or any(name in line for name in named), (path, value, line)
        if not isinstance(path[-1], str):
            continue
        word = path[-1]
        line = outcome(misspelt(tree, path, f"{word[:-1]}q{word[-1]}"), capsys)
        assert word in line, (path, line)
        assert "did you mean" in line or "missing" in line or "is required" in line, (path, line)


@pytest.mark.slow
@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: str(file.relative_to(CONFIGS)))
def test_a_missing_key_has_a_default_or_is_asked_for(
    file: Path, demo_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = tree_of(file, demo_root)
    for path in paths(yaml.safe_load(file.read_text(encoding="utf-8"))):
        if path == ("_BASE_",) or not isinstance(path[-1], str):
            continue
        spoilt_tree = copy.deepcopy(tree)
        del _parent(spoilt_tree, path)[path[-1]]
        line = outcome(spoilt_tree, capsys)
        # Another key may be the one that no longer fits.
        named = re.search(SECTION, line) or path[-1] in line
        assert line == "error: accepted" or named, (path, line)
