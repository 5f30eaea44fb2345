"""``compare_results.py`` and ``extract_loss.py`` on small files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
STORED = REPOSITORY / "test_tipc" / "results" / "SSPCAB_ResNet18"
LOG = """\
[2026/01/01 00:00:00] INFO: something else, loss: 7.0
[2026/01/01 00:00:01] INFO: [Train][Epoch 1/1][Iter: 1/2] lr: 0.1, CELoss: 1.5, loss: 2.00000, \
batch_cost: 0.5 s, ips: 24.0 images/s, eta: 0
[2026/01/01 00:00:02] INFO: [Train][Epoch 1/1][Iter: 2/2] lr: 0.1, CELoss: 0.5, loss: 1.00000, \
batch_cost: 0.5 s, ips: 20.0 images/s, eta: 0
"""


def call(program: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "test_tipc" / program), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


def records(path: Path, scores: dict[str, float | None]) -> Path:
    lines = [json.dumps({"path": name, "score": score}) for name, score in scores.items()]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "values"), [("loss", [2.0, 1.0]), ("CELoss", [1.5, 0.5]), ("ips", [24.0, 20.0])]
)
def test_a_figure_is_taken_from_training_lines_only(
    tmp_path: Path, name: str, values: list[float]
) -> None:
    log = tmp_path / "train.log"
    log.write_text(LOG, encoding="utf-8")
    done = call("extract_loss.py", "-i", log, "-v", name)
    assert [float(line) for line in done.stdout.split()] == values
    assert call("extract_loss.py", "-i", log, "-v", "accuracy").returncode == 2


@pytest.mark.parametrize(
    ("scores", "equal"),
    [
        ({"a.png": 10.0, "../b.png": 20.01}, True),
        ({"a.png": 10.0}, True),
        ({"a.png": 10.0, "b.png": 20.03}, False),
        ({"a.png": float("nan"), "b.png": 20.0}, False),
        ({"a.png": 10.0, "c.png": 20.0}, False),
    ],
)
def test_scores_of_another_program(tmp_path: Path, scores: dict[str, float], equal: bool) -> None:
    truth = tmp_path / "results.csv"
    truth.write_text("path,score\na.png,10.0\nb.png,20.0\n", encoding="utf-8")
    found = records(tmp_path / "records.jsonl", dict(scores))
    done = call("compare_results.py", f"--gt_file={truth}", f"--log_file={found}", "--rtol=1e-3")
    assert done.returncode == (0 if equal else 1), done.stdout + done.stderr


def test_what_was_stored_is_compared_as_a_whole(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text(LOG, encoding="utf-8")
    found = records(tmp_path / "records.jsonl", {"a.png": 10.0, "b.png": 20.0})
    stored = tmp_path / "results" / "run.json"
    words = [f"--gt_file={stored}", f"--log_file={log}", f"--log_file={tmp_path}/rec*.jsonl"]
    assert call("compare_results.py", *words, "--store").returncode == 0
    assert call("compare_results.py", *words).returncode == 0
    about = json.loads(stored.read_text(encoding="utf-8"))
    assert about["losses"] == {"line 1": 2.0, "line 2": 1.0}
    assert about["recorded"] and about["versions"]["paddlepaddle"]

    records(found, {"a.png": 10.0})
    assert call("compare_results.py", *words).returncode == 1
    records(found, {"a.png": 10.0, "b.png": 20.0})
    log.write_text(LOG.replace("loss: 1.0", "loss: 1.1"), encoding="utf-8")
    assert call("compare_results.py", *words).returncode == 1
    records(found, {"a.png": 10.0, "b.png": None})
    assert "no score for b.png" in call("compare_results.py", *words).stderr
    assert call("compare_results.py", *words[:2], "--log_file=absent.log").returncode == 2


def test_the_lite_chain_has_stored_numbers() -> None:
    path = STORED / "lite_train_lite_infer.norm_train_gpus_-1_autocast_null.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert len(stored["losses"]) == 6 and len(stored["scores"]) == 10
    assert max(stored["rtol"].values()) <= 1e-2
