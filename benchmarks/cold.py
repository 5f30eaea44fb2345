"""What a user waits for: from a folder of pictures to a detector, and from a picture to a verdict.

``python benchmarks/cold.py -o Arch.pretrained=FILE --output FILE.md`` generates good pictures, then
runs the commands of the README, each in a process of its own: ``train``, ``predict`` of one
picture, and ``deploy/python/predict.py`` of one picture and of many in each runtime. Beside the
latter stands the throughput of the model alone, without decoding and records.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import (
    CONFIGS,
    own_worker,
    parsed,
    parser,
    publish,
    serve,
    users_environment,
    verdict,
    write_category,
)
from ppcls_sspcab.utils.table import markdown_table

RUNTIMES = ("paddle", "onnx", "openvino")
TRAIN_SECONDS, FIRST_SECONDS, LEAST_SHARE = 30.0, 2.0, 0.9
_ROOT = CONFIGS.parent
_BATCH = 8  # of deploy/python/predict.py


def main() -> int:
    """Writes both tables."""
    found = parser(__doc__ or "")
    found.add_argument("-c", "--config", default=str(CONFIGS / "fast.yaml"))
    found.add_argument("-o", "--override", action="append", default=[])
    found.add_argument("--pictures", type=int, default=200, help="good ones to train on")
    found.add_argument("--many", type=int, default=1000, help="pictures of one run")
    found.add_argument("--size", type=int, default=256)
    found.add_argument("--model", help=argparse.SUPPRESS)
    options = parsed(found)
    if options.worker:
        serve({"speed": lambda: model_speed(options.model, options.worker)})
        return 0
    with tempfile.TemporaryDirectory() as folder:
        waits, shares = _measure(options, Path(folder))
    publish(
        f"Cold: {Path(options.config).name}",
        [
            markdown_table(("", "seconds", "at most", ""), waits),
            markdown_table(
                ("runtime", "pictures a second", "the model alone", "share", "at least", ""), shares
            ),
        ],
        options.output,
        how="Medians; each command in a new process, its start and end included.",
    )
    return 0


def _measure(options: argparse.Namespace, folder: Path) -> tuple[list[list[str]], list[list[str]]]:
    write_category(folder, "part", options.pictures, 0, 1, options.size)
    pictures = sorted(map(str, (folder / "part/train/good").iterdir()))
    one, many = pictures[0], folder / "many.txt"
    repeated = [pictures[number % len(pictures)] for number in range(options.many)]
    many.write_text("\n".join(repeated), encoding="utf-8")
    keys = {"data_root": folder, "category": "part", "output_dir": folder, "overwrite": "true"}
    overrides = [*options.override, *(f"Global.{key}={value}" for key, value in keys.items())]
    yaml = ["-c", options.config, *(word for pair in overrides for word in ("-o", pair))]
    own = [sys.executable, "-m", "ppcls_sspcab"]
    detector, model = folder / "part/detector.safetensors", str(folder / "part/inference")

    waits: list[list[str]] = []

    def wait(what: str, most: float, *command: str) -> float:
        seconds = _median_seconds(command, options.rounds)
        reached = verdict(seconds, most, lower_is_better=True)
        waits.append([what, f"{seconds:.1f}", f"{most:g}", reached])
        return seconds

    wait(f"train, {options.pictures} pictures", TRAIN_SECONDS, *own, "train", *yaml)
    wait("predict, one", FIRST_SECONDS, *own, "predict", "--detector", str(detector), one)
    _seconds([*own, "export", *yaml, "--format", "paddle,onnx"])
    shares = []
    for runtime in RUNTIMES:
        program = str(_ROOT / "deploy/python/predict.py")
        command = [sys.executable, program, "--backend", runtime, "--model", model]
        first = wait(f"predict.py, one, {runtime}", FIRST_SECONDS, *command, one)
        whole = _median_seconds([*command, str(many)], options.rounds)
        speed = (options.many - 1) / (whole - first)
        worker = own_worker(__file__, ["--worker", runtime, "--model", model], launcher=True)
        alone = statistics.median(worker.ask("speed") for _ in range(options.rounds))
        worker.close()
        share = speed / alone
        cells = [f"{speed:.1f}", f"{alone:.1f}", f"{share:.2f}", f"{LEAST_SHARE:g}"]
        shares.append([runtime, *cells, verdict(share, LEAST_SHARE)])
    return waits, shares


def _median_seconds(command: Sequence[str], rounds: int) -> float:
    return statistics.median(_seconds(command) for _ in range(rounds))


def _seconds(command: Sequence[str]) -> float:
    started = time.perf_counter()
    done = subprocess.run(
        command,
        env=users_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout.decode()}"
        )
    return seconds


def model_speed(model: str, runtime: str, batches: int = 12) -> float:
    """Pictures a second of a model alone, in batches as the program makes them."""
    from ppcls_sspcab.runtime.predictor import Predictor

    predictor = Predictor(model, backend=runtime)  # type: ignore[arg-type]
    shape = (_BATCH, *predictor.card.pixels_shape)
    given = np.random.default_rng(0).normal(size=shape).astype(predictor.card.input_type)
    predictor.network.run(given)
    started = time.perf_counter()
    for _ in range(batches):
        predictor.network.run(given)
    return batches * _BATCH / (time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())
