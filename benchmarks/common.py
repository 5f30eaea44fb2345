"""What the benchmarks share: processes to compare, medians, ratios and the Markdown they write."""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ppcls_sspcab.utils.files import atomic_write
from ppcls_sspcab.utils.launcher import launch
from ppcls_sspcab.utils.machine import machine

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
_LOAD_BEFORE = os.getloadavg()[0]
_ANSWER = "answer "  # Paddle's libraries print to standard output as well
# What decides how fast Paddle runs: the launcher's, and those that would hide it.
_SPEED_VARIABLES = ("OMP_", "MKL_", "MALLOC_", "PPCLS_SSPCAB_", "KMP_", "GOMP_", "OPENBLAS_")


def users_environment() -> dict[str, str]:
    """This process's environment with the checkout to import from, and none of the variables that
    decide how fast Paddle runs: most users have not set them.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(_SPEED_VARIABLES)
    }
    root = str(CONFIGS.parent)
    environment["PYTHONPATH"] = os.pathsep.join([root, environment.get("PYTHONPATH", "")])
    return environment


class Worker:
    """A process that measures when it is asked to, so that several can take turns.

    Args:
        command: program and arguments; it must call :func:`serve`.
        launcher: whether the process may set its environment for speed, as our commands do. In
            either case the variables that matter start unset, as they are for most users.
        settings: variables to set all the same.
    """

    def __init__(
        self, command: Sequence[str], launcher: bool, settings: Mapping[str, str] | None = None
    ) -> None:
        environment = users_environment()
        if not launcher:
            environment["PPCLS_SSPCAB_NO_LAUNCHER"] = "1"
        environment |= settings or {}
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, word: str) -> Any:
        """The worker's answer, any value of JSON.

        Raises:
            RuntimeError: the process has ended; its own message is on standard error.
        """
        assert self._process.stdin and self._process.stdout
        with suppress(BrokenPipeError):
            print(word, file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if line.startswith(_ANSWER):
                return json.loads(line.removeprefix(_ANSWER))
        raise RuntimeError(f"{self._process.args} ended with exit code {self._process.wait()}")

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def serve(answers: Mapping[str, Callable[[], Any]]) -> None:
    """Answers each word on standard input until it ends."""
    for line in sys.stdin:
        print(_ANSWER + json.dumps(answers[line.strip()]()), flush=True)


def own_worker(script: str, words: Sequence[str], launcher: bool) -> Worker:
    """A worker that is the benchmark's own script, called with ``words``."""
    return Worker([sys.executable, str(Path(script).resolve()), *words], launcher)


def in_turns(
    calls: Mapping[str, Callable[[], float]], rounds: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Calls all of them in turn, ``rounds`` times, so that other load slows all of them alike.

    Returns:
        what each call returned, by name, without the warm-up.
    """
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(warm_up + rounds):
        for name, call in calls.items():
            found[name].append(call())
    return {name: values[warm_up:] for name, values in found.items()}


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """The median over the rounds of how many times longer ``slow`` took than ``fast``."""
    return statistics.median(s / f for s, f in zip(slow, fast, strict=True))


def verdict(value: float, target: float, lower_is_better: bool = False) -> str:
    """Whether a figure reaches its target, for a cell."""
    met = value <= target if lower_is_better else value >= target
    return "met" if met else "missed"


def parser(text: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    found = argparse.ArgumentParser(description=text)
    found.add_argument("--output", help="Markdown file; what is printed is written there too")
    found.add_argument("--rounds", type=int, default=5, help="in which all take turns")
    found.add_argument("--worker", help=argparse.SUPPRESS)
    return found


def parsed(found: argparse.ArgumentParser) -> argparse.Namespace:
    """The options; a worker restarts in the launcher's environment first."""
    options = found.parse_args()
    if options.worker:
        launch()
    return options


def publish(
    title: str,
    parts: Sequence[str],
    output: str | None,
    how: str = "Medians; ratios are medians of the rounds' own ratios.",
) -> None:
    """Prints the page, with how it was made, and writes it.

    Args:
        title: heading.
        parts: paragraphs and tables.
        output: file, or None.
        how: what the figures are.
    """
    # Where files lie on this machine says nothing: their names do.
    arguments = [re.sub(r"(^|=)/(?:[^/\s]*/)*", r"\1", word) for word in sys.argv[1:]]
    if "--output" in arguments:  # where the page lies says nothing about the figures
        place = arguments.index("--output")
        del arguments[place : place + 2]
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *arguments])
    made = (
        f"Made by `{command}` on {machine()}. Load average before and after: {_LOAD_BEFORE:.1f}, "
        f"{os.getloadavg()[0]:.1f}. {how}"
    )
    text = "\n\n".join([f"# {title}", made, *parts]) + "\n"
    print(text, end="")
    if output:
        atomic_write(output, text)


def write_category(
    root: Path, category: str, good: int, test_good: int, bad: int, size: int
) -> None:
    """Pictures of smooth noise in MVTec's layout, a marked square on each bad one."""
    rng = np.random.default_rng(0)
    folder = root / category
    kinds = {"train/good": good, "test/good": test_good, "test/square": bad}
    for kind, count in kinds.items():
        (folder / kind).mkdir(parents=True)
        for index in range(count):
            noise = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
            image = np.array(noise.resize((size, size), Image.Resampling.BICUBIC))
            if kind == "test/square":
                image[size // 4 : size // 2, size // 4 : size // 2] ^= 255
            Image.fromarray(image).save(folder / kind / f"{index:05d}.png", compress_level=1)
    mask = np.zeros((size, size), np.uint8)
    mask[size // 4 : size // 2, size // 4 : size // 2] = 255
    (folder / "ground_truth/square").mkdir(parents=True)
    for index in range(bad):
        Image.fromarray(mask).save(folder / f"ground_truth/square/{index:05d}_mask.png")
