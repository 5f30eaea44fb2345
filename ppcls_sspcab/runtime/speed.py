"""How fast an exported model is on this machine: what ``deploy/speed.py`` runs.

Needs what the runtimes need; Paddle and the whole package for ``--detector``, and the packages
``onnx`` and ``onnxruntime`` to count multiply-adds. Each backend and number of threads is measured
in a process of its own, in several rounds, so that a busy minute does not fall on one of them.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ppcls_sspcab.errors import UserError
from ppcls_sspcab.image.sources import find_pictures
from ppcls_sspcab.paths import INT8_FILE, ONNX_FILE, PADDLE_FILES
from ppcls_sspcab.runtime.card import InferenceCard
from ppcls_sspcab.runtime.networks import has_openvino
from ppcls_sspcab.runtime.onnx_model import multiply_adds
from ppcls_sspcab.utils.files import atomic_write
from ppcls_sspcab.utils.machine import cpu_threads, peak_memory_mib
from ppcls_sspcab.utils.program import run_program
from ppcls_sspcab.utils.table import markdown_table

EAGER = "eager Detector"
FILES = {
    "paddle": PADDLE_FILES,
    "onnx": (ONNX_FILE,),
    "openvino": (ONNX_FILE,),
    "onnx int8": (INT8_FILE,),
}

BATCH_HEADER = (
    "backend",
    "threads",
    "batch",
    "end to end p50 / p95 / p99, ms",
    "images/s",
    "net p50 / p95 / p99, ms",
    "net images/s",
    "times eager, end to end",
    "net, times ideal",
)
BACKEND_HEADER = (
    "backend",
    "threads",
    "cold start, s",
    "peak memory, MiB",
    "files, MiB",
    "matrix speed, 10^9 multiply-adds/s",
)

_WARM_UP = 3
_MAX_SECONDS = 4.0
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass
class Timing:
    """Seconds of each run of one batch size, in all rounds.

    Attributes:
        end_to_end: from a picture file's bytes to records.
        net: the network alone, on a prepared input.
    """

    end_to_end: list[float] = field(default_factory=list)
    net: list[float] = field(default_factory=list)


@dataclass
class Measured:
    """One backend with one number of threads.

    Attributes:
        timings: by batch size.
        cold_start: seconds from the start of the process to the first record, one a round.
        peak_mib: resident memory at most, one a round.
        multiply_adds_per_second: of a float32 matrix product in numpy, the best of all.
    """

    timings: dict[int, Timing] = field(default_factory=dict)
    cold_start: list[float] = field(default_factory=list)
    peak_mib: list[float] = field(default_factory=list)
    multiply_adds_per_second: float = 0.0

    def add(self, round_: dict[str, Any]) -> None:
        """Adds what one worker measured."""
        self.cold_start.append(round_["cold_start"])
        self.peak_mib.append(round_["peak_mib"])
        speed = round_["multiply_adds_per_second"]
        self.multiply_adds_per_second = max(self.multiply_adds_per_second, speed)
        for batch, found in round_["timings"].items():
            timing = self.timings.setdefault(int(batch), Timing())
            timing.end_to_end += found["end_to_end"]
            timing.net += found["net"]


def main() -> int:
    """Measures, and prints a Markdown table (``--output`` also writes it).

    Returns:
        the exit code of :func:`ppcls_sspcab.utils.program.run_program`.
    """
    return run_program(_measure)


def _measure() -> int:
    options = _parser().parse_args()
    if options.worker:
        print(json.dumps(_work(options, options.worker, options.threads[0])))
        return 0
    text = _report(options)
    print(text, end="")
    if options.output:
        atomic_write(options.output, text)
    return 0


def _report(options: argparse.Namespace) -> str:
    card = InferenceCard.read(options.model)
    backends = [
        name
        for name in FILES
        if set(FILES[name]) <= set(card.files) and (name != "openvino" or has_openvino())
    ]
    if options.backends:
        backends = [name for name in options.backends.split(",") if name in FILES]
    if options.detector:
        backends.insert(0, EAGER)
    measured: dict[tuple[str, int], Measured] = {}
    for _ in range(options.rounds):
        for threads in options.threads:
            for backend in backends:
                found = _run_worker(options, backend, threads)
                measured.setdefault((backend, threads), Measured()).add(found)
    sizes = {
        name: sum((Path(options.model) / file).stat().st_size for file in files) / 2**20
        for name, files in FILES.items()
        if name in backends
    }
    needed, path = None, Path(options.model) / ONNX_FILE
    with suppress(ImportError):
        needed = multiply_adds(path) if path.is_file() else None
    return to_markdown(measured, sizes, needed)


def to_markdown(
    measured: dict[tuple[str, int], Measured], sizes: dict[str, float], needed: int | None
) -> str:
    """Two tables: of every batch size, and of every backend and number of threads.

    Args:
        measured: by backend and threads.
        sizes: MiB of each backend's files.
        needed: multiply-adds of one picture; None where they could not be counted.
    """
    note = "Ideal: the time of a picture's multiply-adds at the best matrix speed of its threads."
    if needed:
        note += f" A picture takes {needed / 1e9:.2f} * 10^9 of them."
    load = f" Load of the machine at the end: {os.getloadavg()[0]:.1f} on {cpu_threads()} cores."
    batches = markdown_table(BATCH_HEADER, _batch_rows(measured, needed))
    backends = markdown_table(BACKEND_HEADER, _backend_rows(measured, sizes))
    return "\n\n".join([batches, backends, note + load]) + "\n"


def _batch_rows(
    measured: dict[tuple[str, int], Measured], needed: int | None
) -> Iterator[tuple[object, ...]]:
    speeds: dict[int, float] = {}
    for (_, threads), found in measured.items():
        speeds[threads] = max(speeds.get(threads, 0.0), found.multiply_adds_per_second)
    for (backend, threads), found in measured.items():
        eager = measured.get((EAGER, threads))
        for batch, timing in found.timings.items():
            whole, net = np.median(timing.end_to_end), np.median(timing.net)
            yield (
                backend,
                threads,
                batch,
                _percentiles(timing.end_to_end),
                f"{batch / whole:.1f}",
                _percentiles(timing.net),
                f"{batch / net:.1f}",
                f"{np.median(eager.timings[batch].end_to_end) / whole:.2f}" if eager else "",
                f"{net * speeds[threads] / (needed * batch):.2f}" if needed else "",
            )


def _backend_rows(
    measured: dict[tuple[str, int], Measured], sizes: dict[str, float]
) -> Iterator[tuple[object, ...]]:
    for (backend, threads), found in measured.items():
        yield (
            backend,
            threads,
            f"{np.median(found.cold_start):.2f}",
            f"{max(found.peak_mib):.0f}",
            f"{sizes[backend]:.1f}" if backend in sizes else "",
            f"{found.multiply_adds_per_second / 1e9:.1f}",
        )


def _percentiles(seconds: Sequence[float]) -> str:
    return " / ".join(f"{1e3 * value:.1f}" for value in np.percentile(seconds, [50, 95, 99]))


def _run_worker(options: argparse.Namespace, backend: str, threads: int) -> dict[str, Any]:
    command = [sys.executable, *sys.argv, "--worker", backend, "--threads", str(threads)]
    variables = {name: str(threads) for name in _THREAD_VARIABLES}
    started = str(time.time())
    done = subprocess.run(
        command,
        env={**os.environ, **variables, "PPCLS_SSPCAB_STARTED": started},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UserError(f"{backend}, {threads} threads: {lines[-1].removeprefix('error: ')}")
    return json.loads(done.stdout.splitlines()[-1])


def _work(options: argparse.Namespace, backend: str, threads: int) -> dict[str, Any]:
    """Measures a backend: its start first, then each batch size, the matrix speed last."""
    files = _pictures(options)
    card = InferenceCard.read(options.model)
    if backend == EAGER:
        predict, prepare, run = _eager(options, card)
    else:
        predict, prepare, run = _exported(options, backend, threads)
    predict(files[:1])
    cold_start = time.time() - float(os.environ["PPCLS_SSPCAB_STARTED"])
    timings = {}
    for batch in options.batch:
        chosen = [files[index % len(files)] for index in range(batch)]
        pixels = np.stack([card.preprocess.load(file) for file in chosen])
        timings[batch] = {
            "end_to_end": _timed(partial(predict, chosen), options.runs),
            "net": _timed(partial(run, prepare(pixels)), options.runs),
        }
    return {
        "cold_start": cold_start,
        "peak_mib": peak_memory_mib() or math.nan,
        "timings": timings,
        "multiply_adds_per_second": matrix_speed(),
    }


# From files to records; from pixels to the network's input; the network alone.
Runs = tuple[Callable[[Sequence[bytes]], Any], Callable[..., np.ndarray], Callable[..., Any]]


def _exported(options: argparse.Namespace, backend: str, threads: int) -> Runs:
    from ppcls_sspcab.runtime.predictor import BACKENDS, Predictor

    precision: Literal["fp32", "int8"] = "int8" if backend.endswith("int8") else "fp32"
    runtime = next(name for name in BACKENDS if backend.startswith(name))
    predictor = Predictor(options.model, runtime, threads, precision=precision)

    def predict(files: Sequence[bytes]) -> Any:
        return predictor.predict(files, batch_size=len(files))

    return predict, predictor.prepare, predictor.network.run


def _eager(options: argparse.Namespace, card: InferenceCard) -> Runs:
    import paddle

    from ppcls_sspcab.detector.file import load_detector

    detector = load_detector(options.detector)

    @paddle.no_grad()
    def score(images: np.ndarray) -> np.ndarray:
        return detector(paddle.to_tensor(images))["score"].numpy()

    return lambda files: score(card.preprocess(files)), card.preprocess.normalize, score


def _timed(call: Callable[[], Any], runs: int) -> list[float]:
    """Seconds of each run after the warm-up; slow calls run less often, at least 3 times."""
    start = time.perf_counter()
    for _ in range(_WARM_UP):
        call()
        if time.perf_counter() - start > _MAX_SECONDS:
            break
    seconds: list[float] = []
    while len(seconds) < runs and (len(seconds) < 3 or sum(seconds) < _MAX_SECONDS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def matrix_speed(side: int = 1024) -> float:
    """Multiply-adds a second of a float32 matrix product in numpy, of ``side`` squared."""
    left = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    return side**3 / min(_timed(lambda: left @ left, 10))


def _pictures(options: argparse.Namespace) -> list[bytes]:
    """The files' contents; without ``--pictures`` one noisy PNG of 1024 x 1024."""
    if options.pictures:
        return [Path(path).read_bytes() for path in find_pictures([options.pictures])[:32]]
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize((1024, 1024), Image.Resampling.BICUBIC).save(stream, "PNG")
    return [stream.getvalue()]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure an exported model on this machine.")
    parser.add_argument("--model", required=True, metavar="DIR", help="folder that 'export' wrote")
    parser.add_argument("--detector", metavar="FILE", help="detector.safetensors, for comparison")
    parser.add_argument("--pictures", help="folder, file or list; default: a generated PNG")
    parser.add_argument("--backends", help=f"of {', '.join(FILES)}; default: all exported")
    parser.add_argument("--threads", type=_numbers, default=list(range(1, cpu_threads() + 1)))
    parser.add_argument("--batch", type=_numbers, default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--runs", type=int, default=20, help="of each batch size and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", help="Markdown file")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser


def _numbers(text: str) -> list[int]:
    numbers = [int(part) for part in text.split(",")]
    if min(numbers) < 1:
        raise ValueError(text)
    return numbers
