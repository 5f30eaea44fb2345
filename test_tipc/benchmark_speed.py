"""The speed of a training, out of its log, or of an exported model on random input, as JSON.

``python test_tipc/benchmark_speed.py train train.log --name=N --batch_size=4 --fp_item=fp32
--devices=-1 --output=FILE`` and ``python test_tipc/benchmark_speed.py infer DIR
--input=[{float32,[3,64,64]}] --output=FILE``
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from extract_loss import extract

from ppcls_sspcab.errors import UserError
from ppcls_sspcab.runtime.card import InferenceCard
from ppcls_sspcab.runtime.networks import PaddleNetwork
from ppcls_sspcab.utils.files import atomic_write
from ppcls_sspcab.utils.program import run_program

WARM_UP, RUNS = 5, 20


def train_speed(options: argparse.Namespace) -> dict[str, Any]:
    """Median images/s of the log's lines without the first, and the last loss.

    Raises:
        UserError: no two lines of training.
    """
    speeds = extract(options.log, "ips")[1:]
    if not speeds:
        raise UserError(f"{options.log}: one line of training is warm-up, no speed")
    processes = len(options.devices.split(","))
    return {
        "model_name": f"{options.name}_bs{options.batch_size}_{options.fp_item}",
        "batch_size": options.batch_size,
        "fp_item": options.fp_item,
        "device_num": f"N1C{processes}",
        "device": "cpu" if options.devices.startswith("-1") else "gpu",
        "ips": statistics.median(speeds),
        "ips_unit": "images/s",
        "convergence_key": "loss",
        "convergence_value": extract(options.log, "loss")[-1],
    }


def infer_speed(options: argparse.Namespace) -> dict[str, Any]:
    """Median milliseconds of the exported network alone, batch 1, on the CPU with oneDNN.

    Raises:
        UserError: an input that is not the model's.
    """
    import numpy as np

    given = re.fullmatch(r"\[\{(\w+),\[(\d+),(\d+),(\d+)\]\}\]", options.input)
    if given is None:
        raise UserError(f"{options.input}: must read like [{{float32,[3,64,64]}}]")
    card = InferenceCard.read(options.model)
    wanted = (given[1], tuple(int(side) for side in given.groups()[1:]))
    if wanted != (card.input_type, card.pixels_shape):
        raise UserError(f"the model takes {card.input_type} {card.pixels_shape}, not {wanted}")
    network = PaddleNetwork(options.model, card.outputs)
    images = np.random.default_rng(0).normal(size=(1, *wanted[1])).astype(wanted[0])
    seconds = []
    for _ in range(WARM_UP + RUNS):
        started = time.perf_counter()
        network.run(images)
        seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds[WARM_UP:])
    return {"input": options.input, "batch_size": 1, "runs": RUNS, "ms": round(median * 1e3, 3)}


def main() -> int:
    parser = argparse.ArgumentParser(description="Speed of a training or of an exported model.")
    kinds = parser.add_subparsers(required=True)
    train = kinds.add_parser("train")
    train.add_argument("log", type=Path)
    for name in ("--name", "--batch_size", "--fp_item", "--devices"):
        train.add_argument(name, required=True)
    train.add_argument("--output", type=Path, required=True)
    train.set_defaults(measure=train_speed)
    infer = kinds.add_parser("infer")
    infer.add_argument("model", type=Path)
    infer.add_argument("--input", required=True)
    infer.add_argument("--output", type=Path, required=True)
    infer.set_defaults(measure=infer_speed)
    options = parser.parse_args()
    atomic_write(options.output, json.dumps(options.measure(options)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
