import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

from benchmarks import common

ROOT = Path(__file__).resolve().parents[2]

# The smallest setting of each, and the first cells of the rows that its tables must have.
COMMANDS = {
    "reader": (
        "--size 32 --triples 2 --pictures 8 --steps 2 --batch 2 --rounds 1",
        ["PIL + paddle.vision", "this project", "full", "frozen"],
    ),
    "training_step": (
        "--size 32 --views 3 --recipe frozen --rounds 1",
        ["plain Paddle", "this project", "PyTorch", "backward", "conv2d_grad", "fused_conv2d"],
    ),
    "evaluation": (
        "--size 32 --pictures 16 --rounds 1",
        ["this project", "eager, launcher's environment", "eager, as installed"],
    ),
    "cold": (
        "--size 32 --pictures 8 --many 200 --rounds 1 -o Arch.pretrained=false -o Arch.freeze=[]",
        ["train, 8 pictures", "predict, one", "predict.py, one, onnx", "openvino"],
    ),
    "growth": (
        "--size 32 --pictures 8 --categories 1 --each 8 --small-cache 0",
        ["8", "1"],
    ),
}


def tables(text):
    """Rows of cells by table; a table ends where the lines with bars do."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.M):
        lines = [[cell.strip() for cell in line[1:-1].split("|")] for line in block.splitlines()]
        assert {len(line) for line in lines} == {len(lines[0])}
        assert all(set(cell) == {"-"} and len(cell) >= 3 for cell in lines[1])
        found.append(lines[2:])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_runs_and_its_tables_parse(name, tmp_path):
    words, firsts = COMMANDS[name]
    output = tmp_path / "table.md"
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *words.split()]
    done = subprocess.run(
        [*command, "--output", str(output)],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    text = output.read_text()
    assert done.stdout == text
    assert f"`python benchmarks/{name}.py {words}`" in text
    rows = [row for table in tables(text) for row in table]
    assert set(firsts) <= {row[0] for row in rows}
    figures = [float(cell) for row in rows for cell in row if re.fullmatch(r"[\d.]+", cell)]
    assert figures and all(figure >= 0 for figure in figures)


def test_image_scores_after_every_epoch_end_with_those_of_the_detector(tiny_yaml):
    def run(program, *words):
        command = [sys.executable, str(ROOT / program), "-c", str(tiny_yaml), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    run("tools/train.py", "-o", "Global.save_interval=1")
    (by_score,) = tables(run("benchmarks/image_scores.py"))
    (by_epoch,) = tables(run("benchmarks/image_scores.py", "--epochs"))
    assert [row[0] for row in by_epoch] == ["0", "3", "6"]
    last, figures = by_epoch[-1], {name: (found, tested) for name, found, _, tested in by_score}
    assert (last[2], last[3]) == figures[last[1]]
    best, name = last[4].split()
    assert figures[name.strip("()")][1] == best == max(tested for _, tested in figures.values())
    (ranks,) = tables(run("benchmarks/image_scores.py", "--ranks"))
    ((_, detectors, count, *correlations, lost),) = ranks
    assert (detectors, int(count)) == ("1", len(by_score))
    assert float(lost) == pytest.approx(float(best) - float(last[3]), abs=0.0011)
    columns = np.array([[float(cell) for cell in row[1:]] for row in by_score]).T
    expected = np.corrcoef([rankdata(column) for column in columns])[0, 1:]
    assert list(map(float, correlations)) == pytest.approx(expected, abs=0.1)


def test_a_worker_starts_with_the_speed_variables_unset(monkeypatch, tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(
        "import os\nfrom benchmarks.common import serve\nprint('noise')\n"
        "serve({'environment': lambda: dict(os.environ)})\n"
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("MALLOC_TOP_PAD_", "7")
    seen = {}
    for launcher in (False, True):
        worker = common.own_worker(str(script), [], launcher)
        seen[launcher] = worker.ask("environment")
        worker.close()
        assert not {"OMP_NUM_THREADS", "MALLOC_TOP_PAD_"} & set(seen[launcher])
    assert seen[False]["PPCLS_SSPCAB_NO_LAUNCHER"] == "1"
    assert "PPCLS_SSPCAB_NO_LAUNCHER" not in seen[True]


def test_a_worker_that_dies_is_an_error(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text("raise SystemExit(5)")
    with pytest.raises(RuntimeError, match="exit code 5"):
        common.own_worker(str(script), [], launcher=True).ask("step")


def test_rounds_take_turns_and_ratios_are_of_the_same_round():
    order = []
    values = iter([9.0, 9.0, 2.0, 1.0, 8.0, 2.0, 30.0, 10.0])

    def call(name):
        order.append(name)
        return next(values)

    found = common.in_turns({"a": lambda: call("a"), "b": lambda: call("b")}, rounds=3)
    assert order == ["a", "b"] * 4
    assert found == {"a": [2.0, 8.0, 30.0], "b": [1.0, 2.0, 10.0]}
    assert common.ratio(found["a"], found["b"]) == 3.0  # of 2, 4 and 3


def test_tolerance_has_a_row_for_each_change_and_a_fit_without_and_with(tiny_yaml):
    for program in ("tools/train.py", "benchmarks/tolerance.py"):
        command = [sys.executable, str(ROOT / program), "-c", str(tiny_yaml)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    (rows,) = tables(done.stdout)
    names = [row[0] for row in rows]
    assert names[0] == "none"
    assert {"brightness ±0.05", "shift 2 px", "JPEG 75", "blur 1 px"} < set(names)
    assert all(0 <= float(cell) <= 1 for row in rows for cell in row[1:])
    assert {len(row) for row in rows} == {7}


def test_few_pictures_draws_as_many_as_asked(tiny_yaml, tmp_path, demo_root):
    category = next(path.name for path in sorted(demo_root.iterdir()) if path.is_dir())
    words = ["-c", tiny_yaml, "--data", demo_root, "--categories", category, "--seeds", "2"]
    words += ["--counts", "5,8", "--work", tmp_path / "work", "--output", tmp_path / "page.md"]
    command = [sys.executable, ROOT / "benchmarks" / "few_pictures.py", *words]
    for _ in range(2):  # the second time from what is there
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    (rows,) = tables((tmp_path / "page.md").read_text(encoding="utf-8"))
    assert [row[0] for row in rows] == ["5", "8"]
    assert {row[5] for row in rows} == {"no"}  # 19 pictures keep a rate of 5 %
    assert all(0 <= float(row[2].split()[0]) <= 1 for row in rows)
    drawn = [
        {path.name for path in (tmp_path / "work" / run / "data").glob("*/train/good/*")}
        for run in (f"{category}_5_seed_0", f"{category}_8_seed_0", f"{category}_5_seed_1")
    ]
    assert list(map(len, drawn)) == [5, 8, 5]
    assert drawn[0] < drawn[1] and drawn[0] != drawn[2]
    assert "reading" not in done.stderr  # nothing was trained again
