"""``study``: what it plans, runs, shares, resumes and reports."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import fake_run
import numpy as np
import pytest
import yaml

from ppcls_sspcab.cli.main import main
from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.metric.image import bootstrap_interval, image_auroc
from ppcls_sspcab.paths import StudyFolder, StudyRunFolder
from ppcls_sspcab.study import run, schedule
from ppcls_sspcab.study.device import environment_for
from ppcls_sspcab.study.plan import plan, read_configs, recipes
from ppcls_sspcab.study.state import read_state
from ppcls_sspcab.utils.lock import folder_lock

REPOSITORY = Path(__file__).resolve().parents[2]
FAKE = [sys.executable, str(Path(fake_run.__file__))]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for category in ("one", "two"):
        (root / category / "train" / "good").mkdir(parents=True)
    return root


@pytest.fixture
def short(tmp_path: Path) -> str:
    path = tmp_path / "short.yaml"
    path.write_text(f"_BASE_: {REPOSITORY}/configs/cutpaste_sspcab.yaml\n")
    return str(path)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "COMMAND", FAKE)
    monkeypatch.setattr(schedule, "POLL", 0.05)


def words(config: str, data: Path, *more: str) -> list[str]:
    output = str(data.parent / "out")
    return ["study", "-c", config, "--data", str(data), "--output", output, *more]


def starts(data: Path) -> dict[str, list[str]]:
    """The lines that each run's attempts left, by the run's folder."""
    base = data.parent / "out" / "runs"
    return {
        str(path.parent.relative_to(base)): path.read_text().splitlines()
        for path in base.rglob("starts.txt")
    }


def rows(data: Path, part: str = "rows") -> list[dict]:
    return json.loads((data.parent / "out" / "study.json").read_text())[part]


def test_each_configuration_stands_beside_its_baselines(short: str) -> None:
    found = recipes(read_configs([short], [], None, False))
    assert [recipe.title for recipe in found] == ["untrained", "short without SSPCAB", "short"]
    untrained, plain, full = (recipe.config for recipe in found)
    assert untrained.Global.epochs == 0 and untrained.Score == {"name": "embedding"}
    for config in (untrained, plain):
        assert config.Arch["Block"] is None
        assert config.Loss.Train == [{"CELoss": {"weight": 1.0}}]
    assert plain.Global == full.Global and plain.Score == full.Score
    assert full.tree == load_config(short).tree | {"Global": full.tree["Global"]}


def test_a_map_of_the_block_goes_with_the_block(short: str) -> None:
    own = ["Localize.name=SSPCABError", "Score.name=map_max"]
    untrained, plain, full = recipes(read_configs([short], own, None, False))
    assert full.config.Localize["name"] == "SSPCABError"
    assert plain.config.Localize is None and plain.config.Score == {"name": "auto"}
    assert untrained.config.Localize is None


def test_equal_baselines_run_once_and_different_ones_are_told_apart(
    short: str, tmp_path: Path
) -> None:
    for name, text in (
        ("long", "Global: {epochs: 300}"),
        ("bare", "Arch: {Block: null}\nLoss: {Train: [{CELoss: {weight: 1.0}}]}"),
    ):
        (tmp_path / f"{name}.yaml").write_text(f"_BASE_: short.yaml\n{text}\n")
    paths = [short, str(tmp_path / "long.yaml"), str(tmp_path / "bare.yaml")]
    titles = [recipe.title for recipe in recipes(read_configs(paths, [], None, False))]
    assert titles == [
        "untrained",
        "short without SSPCAB",
        "short",
        "long without SSPCAB",
        "long",
    ]  # and "bare" is "short without SSPCAB"
    (tmp_path / "large.yaml").write_text("_BASE_: short.yaml\nPreprocess: {image_size: [320, 320]}")
    paths = [short, str(tmp_path / "large.yaml")]
    titles = [recipe.title for recipe in recipes(read_configs(paths, [], None, False))]
    assert titles[:2] == ["short untrained", "large untrained"]


def test_what_trains_nothing_has_no_baseline(short: str) -> None:
    paths = [str(REPOSITORY / "configs" / "fast.yaml"), short]
    titles = [recipe.title for recipe in recipes(read_configs(paths, [], None, False))]
    assert titles == ["untrained", "fast", "short without SSPCAB", "short"]
    (fast,) = recipes(read_configs(paths[:1], [], None, False))
    assert fast.title == "fast"


def test_only_what_changes_results_changes_the_folder(short: str, tmp_path: Path) -> None:
    def folders(*overrides: str, diagnose: bool = False) -> list[Path]:
        found = recipes(read_configs([short], overrides, None, diagnose))
        return [run.folder.root for run in plan(found, ["a"], [0], StudyFolder(tmp_path))]

    usual = folders()
    same = ("Global.device=cpu", "Global.cache_mb=1", "DataLoader.Train.loader.num_workers=0")
    assert folders(*same) == usual
    assert folders("Global.seed=5", "Global.output_dir=elsewhere") == usual
    here = os.path.relpath(tmp_path)
    assert folders(f"Global.data_root={here}") == folders(f"Global.data_root={tmp_path}") != usual
    longer = folders("Global.epochs=300")
    assert longer[0] == usual[0] and longer[1] != usual[1] and longer[2] != usual[2]
    assert not set(folders("Density.name=KernelDensity")) & set(usual)
    diagnosed = folders(diagnose=True)
    assert diagnosed[0] == usual[0] and not set(diagnosed[1:]) & set(usual)


@pytest.mark.slow
def test_every_combination_runs_once_and_the_tables_add_up(
    fake: None, short: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(short, data, "--seeds", "2", "--devices", "cpu,cpu", "--diagnose")) == 0
    found = starts(data)
    assert len(found) == 3 * 2 * 2
    assert all(len(lines) == 1 and lines[0].endswith(" cpu") for lines in found.values())
    assert main(words(short, data, "--seeds", "2", "--diagnose")) == 0
    assert starts(data) == found

    row = next(row for row in rows(data) if (row["config"], row["category"]) == ("short", "two"))
    name = next(name.split("/")[0] for name in found if re.match(r"short-", name))
    labels, first, second = (
        np.array(values) for values in (*fake_run.scores(name, 0), fake_run.scores(name, 1)[1])
    )
    values = [image_auroc(labels, first), image_auroc(labels, second)]
    assert row["image_auroc"] == pytest.approx(np.mean(values))
    assert row["image_auroc_std"] == pytest.approx(statistics.stdev(values))
    # An interval of the mean over seeds, against resampling both lists of scores together.
    rng = np.random.default_rng(0)
    bad, good = np.flatnonzero(labels), np.flatnonzero(labels == 0)
    means = []
    for _ in range(4000):
        drawn = np.concatenate([rng.choice(good, len(good)), rng.choice(bad, len(bad))])
        means.append(np.mean([image_auroc(labels[drawn], s[drawn]) for s in (first, second)]))
    expected = np.quantile(means, [0.025, 0.975])
    assert [row["image_auroc_low"], row["image_auroc_high"]] == pytest.approx(expected, abs=0.03)
    assert (row["false_alarms"], row["good"], row["false_alarm_rate"]) == (2, 8, 0.25)
    assert (row["missed"], row["bad"], row["detection_rate"]) == (2, 8, 0.75)
    assert (row["seconds"], row["peak_memory_mb"], row["pixel_auroc"]) == (2.5, 101.0, None)
    assert row["best_on_test_not_a_result"] == pytest.approx(0.625)

    mean = next(row for row in rows(data, "means") if row["config"] == "short")
    both = [row["image_auroc"] for row in rows(data) if row["config"] == "short"]
    assert mean["image_auroc"] == pytest.approx(np.mean(both)) and mean["done"] == 2
    assert mean["good"] == 16

    with (data.parent / "out" / "study.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == 3 + 6 and table[0]["category"] == "mean"
    text = (data.parent / "out" / "study.md").read_text()
    assert "best on test (not a result)" in text and "picked on the test set: not a result" in text
    assert "0.750 (6 of 8)" in text
    assert "pixel AUROC" not in text  # nothing is known of it
    capsys.readouterr()


def test_what_was_picked_on_the_test_set_is_shown_only_when_asked_for(
    fake: None, short: str, data: Path
) -> None:
    assert main(words(short, data, "--seeds", "1", "--categories", "one")) == 0
    for kind in ("csv", "json", "md", "html"):
        text = (data.parent / "out" / f"study.{kind}").read_text().lower()
        assert "best on test" not in text and "best_on_test" not in text
    row = rows(data)[0]
    assert row["image_auroc_std"] is None and row["planned"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "category, error",
    [("broken", "no pictures there"), ("killed", "signal SIGKILL: was there enough memory?")],
)
def test_a_failed_run_is_reported_and_the_rest_goes_on(
    fake: None, short: str, data: Path, category: str, error: str
) -> None:
    (data / category / "train" / "good").mkdir(parents=True)
    assert main(words(short, data, "--seeds", "1")) == 1
    failed = [row for row in rows(data) if row["category"] == category]
    assert all(error in row["errors"] and row["done"] == 0 for row in failed)
    assert all(row["done"] == 1 for row in rows(data) if row["category"] != category)
    assert {row["done"] for row in rows(data, "means")} == {2}
    text = (data.parent / "out" / "study.md").read_text()
    assert "3 of 9 runs have no result" in text and error in text
    assert error in (data.parent / "out" / "study.html").read_text()
    again = main(words(short, data, "--seeds", "1"))
    assert again == (0 if category == "broken" else 1)
    attempts = {name.split("/")[-1]: len(lines) for name, lines in starts(data).items()}
    assert attempts == {"one": 1, "two": 1, category: 2}


def command(arguments: Sequence[str]) -> subprocess.Popen[str]:
    # A shell starts what it runs in the background with SIGINT ignored, and children inherit it.
    script = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from ppcls_sspcab.study import schedule; from ppcls_sspcab.cli.main import main;"
        f"schedule.COMMAND, schedule.POLL = {FAKE!r}, 0.05; sys.exit(main({list(arguments)!r}))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


@pytest.mark.slow
def test_two_commands_share_one_list(short: str, data: Path) -> None:
    both = [command(words(short, data, "--seeds", "2")) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    found = starts(data)
    assert len(found) == 3 * 2 * 2 and all(len(lines) == 1 for lines in found.values())
    finished = [text.count(": done (") for text in said]
    assert sum(finished) == len(found) and all(finished)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_command_leaves_what_the_next_one_resumes(
    short: str, data: Path, how: signal.Signals
) -> None:
    (data / "slow" / "train" / "good").mkdir(parents=True)
    arguments = words(short, data, "--seeds", "1", "--categories", "slow")
    process = command(arguments)
    deadline = time.monotonic() + 60
    while not list(data.parent.rglob("waiting")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(how)
    process.communicate(timeout=60)
    (waiting,) = data.parent.rglob("waiting")
    folder = StudyRunFolder(str(waiting.parents[1]), waiting.parent.name)
    starts_file = folder.root / "starts.txt"
    if how == signal.SIGKILL:
        # The run goes on by itself and keeps its lock, so that no one begins it a second time.
        assert read_state(folder)["state"] == "running"
        other = command(arguments)
        time.sleep(1.5)
        assert len(starts_file.read_text().splitlines()) == 1
        assert other.poll() is None
        os.kill(int(starts_file.read_text().split()[0]), signal.SIGKILL)
        other.communicate(timeout=60)
        assert other.returncode == 0
    else:
        assert process.returncode == 130
        assert read_state(folder)["state"] == "interrupted"
        assert "runs have no result" in (data.parent / "out/study.md").read_text()
        again = command(arguments)
        again.communicate(timeout=60)
        assert again.returncode == 0
    assert len(starts_file.read_text().splitlines()) == 2


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


@pytest.mark.slow
def test_the_page_needs_nothing_and_believes_no_name(fake: None, short: str, data: Path) -> None:
    (data / "<img src=x>" / "train" / "good").mkdir(parents=True)
    assert main(words(short, data, "--seeds", "1", "--diagnose")) == 0
    text = (data.parent / "out" / "study.html").read_text()
    page = _Page()
    page.feed(text)
    assert page.links == [] and "img" not in page.tags and "script" not in page.tags
    assert page.tags.count("table") == 1 + 3 + 1  # means, categories, protocol
    assert "&lt;img src=x&gt;" in text and "&lt;b&gt;bold" in text and "url(" not in text
    assert "default-src 'none'" in text and 'name="viewport"' in text


@pytest.mark.parametrize(
    "more, said",
    [
        (["--categories", "on"], "did you mean 'one'"),
        (["--categories", ","], "names no category"),
        (["--seeds", "0"], "at least 1"),
        (["--devices", "gpu"], "gpu:NUMBER"),
        (["--devices", "cpu,gpu:1"], "shows 1 GPU(s)"),
        (["-o", "Global.engine=paddleclas"], "built-in engine"),
        (["-o", "Global.epoch=1"], "did you mean 'epochs'"),
    ],
)
def test_mistakes_are_told_before_anything_runs(
    short: str,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    more: list[str],
    said: str,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert main(words(short, data, *more)) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (data.parent / "out").exists()


def test_two_files_of_one_name_are_refused(
    short: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other" / "short.yaml"
    other.parent.mkdir()
    other.write_text("_BASE_: ../short.yaml\n")
    assert main(words(short, data, "-c", str(other))) == 2
    assert "rename one" in capsys.readouterr().err


def test_each_gpu_serves_its_own_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert environment_for("gpu:1", 2)["CUDA_VISIBLE_DEVICES"] == "5"
    threads = int(environment_for("cpu", 1)["OMP_NUM_THREADS"])
    assert int(environment_for("cpu", 2)["OMP_NUM_THREADS"]) == max(1, threads // 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert environment_for("gpu:1", 2)["CUDA_VISIBLE_DEVICES"] == "1"


def test_a_real_run_resumes_and_keeps_its_diagnosis_apart(tiny_yaml: Path, tmp_path: Path) -> None:
    quick = ["Score.name=embedding", "Localize=null"]
    config = load_config(tiny_yaml, ["Global.eval_during_train=true", *quick])
    folder = StudyRunFolder(str(tmp_path / "output"), config.Global.category)
    folder.root.mkdir(parents=True)
    folder.run_config.write_text(config.to_yaml())
    assert run.main(folder.root) == 0
    state = read_state(folder)
    assert state["state"] == "done" and state["error"] is None
    assert state["seconds"] > 0 and state["peak_memory_mb"] > 100
    logged = re.findall(r"on the test pictures: ([\d.]+)", folder.train_log.read_text())
    best = json.loads(folder.diagnosis.read_text())["best_image_auroc"]
    assert len(logged) == 2 and best == pytest.approx(max(map(float, logged)), abs=1e-5)
    for name in ("results.json", "detector.json", "config.yaml"):
        assert "best_image_auroc" not in (folder.root / name).read_text()
    first = json.loads(folder.results_json.read_text())
    folder.results_json.unlink()
    assert run.main(folder.root) == 0
    assert "resuming after step 6" in folder.train_log.read_text()
    assert json.loads(folder.results_json.read_text())["image_auroc"] == first["image_auroc"]
    assert read_state(folder)["seconds"] > state["seconds"]
    assert json.loads(folder.diagnosis.read_text())["best_image_auroc"] == best
    assert run.main(folder.root) == run.TAKEN  # it is done

    tree = config.tree | {"Global": config.tree["Global"] | {"data_root": "nowhere"}}
    folder.run_config.write_text(yaml.safe_dump(tree))
    folder.results_json.unlink()
    assert run.main(folder.root) == 1
    state = read_state(folder)
    assert state["state"] == "failed" and "nowhere does not exist" in state["error"]


def test_a_run_that_another_process_holds_is_left_alone(tmp_path: Path) -> None:
    with folder_lock(tmp_path / "part"):
        command = [sys.executable, "-m", "ppcls_sspcab.study.run", str(tmp_path / "part")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == run.TAKEN and "another run is writing there" in done.stderr
    assert not (tmp_path / "part" / "run.json").exists()


def test_what_is_not_trained_runs_in_a_process_of_its_own(
    tiny_yaml: Path, demo_root: Path, tmp_path: Path
) -> None:
    config = load_config(tiny_yaml)
    more = ["-o", "Global.epochs=0", "-o", "Arch.Block=null", "-o", "Score.name=embedding"]
    more += ["-o", "Loss.Train=[{CELoss: {weight: 1.0}}]"]
    output = str(tmp_path / "out")
    arguments = ["study", "-c", str(tiny_yaml), "--data", str(demo_root), "--output", output]
    arguments += ["--categories", config.Global.category, "--seeds", "1", *more]
    assert main(arguments) == 0
    (row,) = json.loads((tmp_path / "out" / "study.json").read_text())["rows"]
    assert row["config"] == "tiny" and 0 <= row["image_auroc"] <= 1
    assert row["image_auroc_low"] <= row["image_auroc"] <= row["image_auroc_high"]
    assert row["pixel_auroc"] is not None and row["aupro"] is not None
    (table,) = (tmp_path / "out").rglob("results.csv")
    with table.open() as file:
        found = list(csv.DictReader(file))
    labels = np.array([int(picture["label"]) for picture in found])
    scores = np.array([float(picture["score"]) for picture in found])
    assert row["image_auroc"] == pytest.approx(image_auroc(labels, scores))
    expected = bootstrap_interval(image_auroc, labels, scores, 0)
    assert [row["image_auroc_low"], row["image_auroc_high"]] == pytest.approx(expected, abs=0.05)
