"""What the programs write to their standard streams, as processes: every line is ours."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
LOG_LINE = re.compile(r"\[20\d\d/\d\d/\d\d \d\d:\d\d:\d\d\] \S")


def program(
    *words: object, environment: dict[str, str] | None = None, **options: object
) -> subprocess.CompletedProcess[str]:
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run(
        [sys.executable, *map(str, words)],
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **(environment or {})},
        **given,
    )


def verb(name: str, config: Path, *words: object, **options: object):
    return program("-m", "ppcls_sspcab", name, "-c", config, *words, **options)


def only_log_lines(text: str) -> bool:
    return all(LOG_LINE.match(line) for line in text.splitlines())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, demo_root: Path) -> Path:
    """A trained and exported detector of generated pictures, made by the programs themselves."""
    folder = tmp_path_factory.mktemp("console")
    run = {"data_root": str(demo_root), "category": "gasket", "output_dir": str(folder / "output")}
    run |= {"epochs": 2, "iter_per_epoch": 3, "print_batch_step": 1, "device": "cpu"}
    sizes = {"Train": {"sampler": {"batch_size": 4}}, "Eval": {"sampler": {"batch_size": 8}}}
    text = {"_BASE_": str(REPOSITORY / "configs" / "demo.yaml"), "Global": run}
    text |= {"Preprocess": {"image_size": [32, 32]}, "DataLoader": sizes}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")

    trained = verb("train", folder / "tiny.yaml")
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout == "" and only_log_lines(trained.stderr), trained.stderr
    steps = [line for line in trained.stderr.splitlines() if "[Train]" in line]
    assert len(steps) == 6 and max(map(len, steps)) <= 100
    exported = verb("export", folder / "tiny.yaml", "--format", "paddle,onnx", "--input", "uint8")
    assert exported.returncode == 0, exported.stderr
    assert exported.stdout == "" and only_log_lines(exported.stderr), exported.stderr
    return folder


@pytest.mark.slow
def test_evaluating_and_predicting_print_results_only(place: Path, demo_root: Path) -> None:
    evaluated = verb("eval", place / "tiny.yaml")
    assert evaluated.stdout.startswith("# gasket\n") and only_log_lines(evaluated.stderr)
    predicted = verb("predict", place / "tiny.yaml", demo_root / "gasket" / "test" / "good")
    assert only_log_lines(predicted.stderr), predicted.stderr
    assert all("score" in json.loads(line) for line in predicted.stdout.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["paddle", "onnx"])
def test_the_deployed_programs_print_records_only(
    place: Path, demo_root: Path, backend: str
) -> None:
    model = place / "output" / "gasket" / "inference"
    words = (REPOSITORY / "deploy" / "python" / "predict.py", "--backend", backend)
    words += ("--model", model, demo_root / "gasket" / "test" / "good")
    done = program(*words)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 4
    calibrated = program(
        *("-m", "ppcls_sspcab", "calibrate", "--model", shutil.copytree(model, place / backend)),
        *("--good", demo_root / "gasket" / "test" / "good", "--backend", backend),
    )
    assert calibrated.returncode == 0 and only_log_lines(calibrated.stderr), calibrated.stderr


@pytest.mark.slow
def test_outputs_that_cannot_be_written_are_said(place: Path, demo_root: Path) -> None:
    deploy = (REPOSITORY / "deploy" / "infer.py", "--model", place / "output/gasket/inference")
    picture = demo_root / "gasket" / "test" / "good" / "000.png"
    with Path("/dev/full").open("w") as full:
        to_stdout = program(*deploy, picture, stdout=full)
    to_file = program(*deploy, picture, "--output", "/dev/full")
    assert Path("/dev/full").is_char_device()  # and was not replaced by a file
    for done, name in ((to_stdout, "standard output"), (to_file, "/dev/full")):
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"error: {name}: cannot be written: the disk is full")


@pytest.mark.slow
def test_records_reach_a_pipe_by_name_and_a_reader_may_leave(place: Path, demo_root: Path) -> None:
    model, pictures = place / "output/gasket/inference", demo_root / "gasket" / "test"
    command = (
        f"{sys.executable} {REPOSITORY}/deploy/infer.py --model {model} {pictures} --batch-size 1"
    )
    script = f"set -o pipefail; {command} --output /dev/stdout | wc -l; {command} | head -n 1"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    count, record = done.stdout.splitlines()
    assert int(count) == len(list(pictures.rglob("*.png"))) and "score" in json.loads(record)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_names_that_the_terminal_cannot_show(
    place: Path, demo_root: Path, tmp_path: Path, form: str
) -> None:
    source = demo_root / "gasket" / "test" / "good" / "000.png"
    picture = shutil.copy(source, tmp_path / "grün \N{GRINNING FACE}.png")
    words = ("--model", place / "output/gasket/inference", tmp_path, "--format", form)
    done = program(
        REPOSITORY / "deploy" / "infer.py", *words, environment={"PYTHONIOENCODING": "ascii"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "gr\\u00fcn \\ud83d\\ude00" in done.stdout
    if form == "jsonl":
        assert json.loads(done.stdout)["path"] == str(picture)


@pytest.mark.slow
def test_the_faces_take_the_installed_package_where_there_is_no_checkout(
    place: Path, demo_root: Path, tmp_path: Path
) -> None:
    for folder in ("tools", "deploy"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    (tmp_path / "yaml.py").write_text("raise ImportError('shadowed')")
    told = program(tmp_path / "tools" / "train.py", "-c", place / "tiny.yaml", "--print-config")
    assert told.returncode == 0 and "epochs: 2" in told.stdout, told.stderr
    model = place / "output" / "gasket" / "inference"
    picture = demo_root / "gasket" / "test" / "good" / "000.png"
    for name in ("infer.py", "python/predict.py"):
        done = program(tmp_path / "deploy" / name, "--model", model, picture)
        assert "score" in json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["train", "--help"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    code = "import sys; from ppcls_sspcab.cli.main import main\n"
    code += f"try: main({words})\nexcept SystemExit as end: assert not end.code\n"
    code += "print({'numpy', 'paddle', 'yaml', 'tqdm', 'filelock'} & set(sys.modules))"
    done = program("-c", code)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "set()", done.stderr
