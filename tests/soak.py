"""Faults on purpose, for minutes on end: ``make soak``; its short form is ``tests/test_soak.py``.

Runs are killed at random moments, pictures and model files are spoilt, and thousands of pictures
are scored while memory is watched. It ends with a table and exits with 1 if a promise of
``docs/reliability.md`` was broken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

HERE = Path(__file__).resolve().parent
CATEGORIES = ("gasket", "mesh")
SIZE = 48
KILLS_IN_A_ROW = 6
WARM_UP, GROWTH = 0.2, 0.02
SIZES_GROWTH = 0.5  # from one batch size to all of them

CONFIG = f"""
_BASE_: {HERE.parent}/configs/demo.yaml
Global: {{data_root: DATA, output_dir: OUTPUT, category: all, epochs: 3, iter_per_epoch: 2,
         print_batch_step: 1, device: cpu, model_selection: val_synthetic, plugins: [soak_network]}}
Arch:
  Backbone: {{name: soak_network}}
  Block: {{replace: auto}}
  Head: {{hidden_size: 64, bottleneck: 32}}
Preprocess: {{image_size: [32, 32]}}
DataLoader:
  Train: {{sampler: {{batch_size: 2}}}}
  Eval: {{sampler: {{batch_size: 32}}}}
Score: {{name: embedding}}
Localize: null
"""


@dataclass(frozen=True)
class Figure:
    """A line of the closing table.

    Attributes:
        promise: what was put to the test.
        value: what came out.
        kept: whether the promise was.
    """

    promise: str
    value: str
    kept: bool


class Broken(AssertionError):
    """A promise that was not kept."""


# ---------------------------------------------------------------------------------- the runs


def prepare(place: Path) -> Path:
    """Generated pictures and a configuration of a run that takes seconds; returns the YAML."""
    from ppcls_sspcab.data.generated import generate_demo

    generate_demo(place / "data", seed=0, size=SIZE, train=10, test=3, bad=2)
    path = place / "soak.yaml"
    text = CONFIG.replace("DATA", str(place / "data")).replace("OUTPUT", str(place / "output"))
    path.write_text(text, encoding="utf-8")
    return path


def work(config: Path, output: Path) -> int:
    """What is killed: train, or resume where there is a checkpoint; evaluate; export."""
    from ppcls_sspcab.cli.main import main

    sys.addaudithook(refuse_network)
    common = ["-c", str(config), "-o", f"Global.output_dir={output}"]
    begun = any(output.glob("*/checkpoints/latest.safetensors"))
    resume = ["-o", "Global.checkpoints=latest"] if begun else []
    for words in (["train", *common, *resume], ["eval", *common], ["export", *common]):
        code = main(words)
        if code:
            return code
    return 0


def refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook that ends the process where Python code reaches for the network."""
    local = event == "socket.connect" and isinstance(arguments[1], (str, bytes))
    if event in ("socket.getaddrinfo", "socket.connect") and not local:
        print(f"reached for the network: {event} {arguments}", file=sys.stderr, flush=True)
        os._exit(99)


def start(config: Path, output: Path, log: Path) -> subprocess.Popen[bytes]:
    """:func:`work` in a process of its own; what it says goes to the end of ``log``."""
    command = [sys.executable, __file__, "--work", str(config), str(output)]
    with log.open("ab") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=stream, env=environment())


def environment() -> dict[str, str]:
    """One thread, so that sums have one order; this copy of the package."""
    paths = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}


def finish(config: Path, output: Path, log: Path) -> float:
    """Runs :func:`work` to its end and returns the seconds it took."""
    started = time.monotonic()
    if start(config, output, log).wait(timeout=600):
        raise Broken(f"a run that nobody disturbed failed:\n{log.read_text()[-3000:]}")
    return time.monotonic() - started


# ---------------------------------------------------------------------------------- kills


def kills(place: Path, count: int, seed: int) -> Figure:
    """Kills runs by SIGKILL; every final name must hold a whole file, every run must come right."""
    config, rng, log = prepare(place), random.Random(seed), place / "log.txt"
    whole = place / "undisturbed"
    life = finish(config, whole, log)
    expected = weights(whole)
    done, chain, while_writing = 0, 0, 0
    output = place / "killed"
    while done < count:
        before = set(unfinished(output))
        moment = at_a_write(before, output, rng) if rng.random() < 0.5 else at_a_time(life, rng)
        if chain < KILLS_IN_A_ROW and kill(start(config, output, log), moment):
            done, chain = done + 1, chain + 1
            while_writing += bool(set(unfinished(output)) - before)
            check_whole(output)
            say(f"killed {done} of {count}, {while_writing} of them while a file was written")
            continue
        compare(expected, config, output, log)
        chain = 0
        shutil.rmtree(output)
    compare(expected, config, output, log)
    return Figure(
        "kills survived, the weights as undisturbed",
        f"{done}/{count} ({while_writing} while a file was being written)",
        done == count,
    )


Moment = Callable[[float], bool]


def at_a_time(life: float, rng: random.Random) -> Moment:
    """Any moment of a run's life."""
    wanted = rng.uniform(0.05, 0.95) * life
    return lambda seconds: seconds >= wanted


def at_a_write(before: set[str], output: Path, rng: random.Random) -> Moment:
    """The moment at which one of the next unfinished files is seen."""
    wanted, seen = rng.randint(1, 30), set(before)

    def reached(_: float) -> bool:
        seen.update(unfinished(output))
        return len(seen) - len(before) >= wanted

    return reached


def unfinished(output: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(output):
        yield from (os.path.join(folder, name) for name in files + folders if ".part" in name)


def kill(process: subprocess.Popen[bytes], moment: Moment) -> bool:
    """Kills a process at a moment; False where it ended before."""
    started = time.monotonic()
    while process.poll() is None:
        if moment(time.monotonic() - started):
            process.send_signal(signal.SIGKILL)
            return process.wait(timeout=60) == -signal.SIGKILL
        time.sleep(0.001)
    if process.returncode:
        raise Broken(f"a resumed run failed with exit code {process.returncode}")
    return False


def compare(
    expected: dict[str, dict[str, np.ndarray]], config: Path, output: Path, log: Path
) -> None:
    """Lets a killed run come to its end and holds it to the undisturbed one."""
    finish(config, output, log)
    check_whole(output)
    found = weights(output)
    for category, arrays in expected.items():
        for name, array in arrays.items():
            if not np.array_equal(found[category][name], array, equal_nan=True):
                raise Broken(f"{category}: {name} is not that of the undisturbed run")
    left = list(output.rglob("*.part"))
    if left:
        raise Broken(f"unfinished files are left: {left}")


def weights(output: Path) -> dict[str, dict[str, np.ndarray]]:
    """All arrays of every category's detector."""
    from ppcls_sspcab.utils.weights import read_weights

    return {name: read_weights(output / name / "detector.safetensors") for name in CATEGORIES}


def check_whole(output: Path) -> None:
    """Does nothing if every file below ``output`` with a final name is whole.

    Raises:
        Broken: one is not.
    """
    for path in output.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(output).parts)
        if not path.is_file() or hidden:
            continue
        try:
            _check_file(path)
        except Exception as error:
            raise Broken(f"{path} is half a file: {error!r}") from error


def _check_file(path: Path) -> None:
    from ppcls_sspcab.runtime.card import InferenceCard
    from ppcls_sspcab.utils.weights import read_weights

    if path.suffix == ".safetensors":
        read_weights(path)
    elif path.suffix == ".json":
        json.loads(path.read_text(encoding="utf-8"))
    elif path.suffix == ".png":
        with Image.open(path) as picture:
            picture.load()
    elif path.name == "inference.yml":
        card = InferenceCard.read(path.parent)
        for name in card.files:
            card.read_file(path.parent / name)
        if {file.name for file in path.parent.iterdir()} != {*card.files, path.name}:
            raise Broken("files without a card")
    elif path.suffix == ".yaml":
        yaml.safe_load(path.read_text(encoding="utf-8"))["Preprocess"]["image_size"]


# ---------------------------------------------------------------------------------- long runs


def long_run(place: Path, count: int, growth: float = GROWTH) -> list[Figure]:
    """Scores pictures by the detector and by the exported model, and watches the process.

    Args:
        growth: the share by which memory may grow after the warm-up.
    """
    config = prepare(place)
    log = place / "log.txt"
    finish(config, place / "output", log)
    pictures = place / "pictures"
    generate(pictures, count)
    category = CATEGORIES[0]
    model = place / "output" / category / "inference"
    own = ["-o", f"Global.category={category}"]
    words = {
        "predict": ["-m", "ppcls_sspcab", "predict", "-c", str(config), *own],
        "deploy": [str(HERE.parent / "deploy" / "infer.py"), "--model", str(model)],
    }
    watched = [
        watch(name, [*command, str(pictures), "--output", str(output)], count, log, growth)
        for name, command in words.items()
        for output in [place / f"{name}.jsonl"]
    ]
    return [*watched, batch_sizes(model)]


# Prints MiB after two runs of the largest batch, and after two of every size in any order.
_EVERY_SIZE = """
import os, random, sys
from pathlib import Path
import numpy as np
from ppcls_sspcab.runtime.predictor import Predictor

predictor, side, most = Predictor(sys.argv[1], backend="paddle"), int(sys.argv[2]), 32

def memory():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20

def score(count):
    predictor.predict(np.zeros((count, side, side, 3), np.uint8), batch_size=count)

score(most), score(most)
before, sizes = memory(), [*range(1, most + 1)] * 2
random.Random(0).shuffle(sizes)
for size in sizes:
    score(size)
print(before, memory())
"""


def batch_sizes(model: Path) -> Figure:
    """The memory of a model in Paddle that is given batches of every size."""
    words = [sys.executable, "-c", _EVERY_SIZE, str(model), str(SIZE)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)
    if done.returncode:
        raise Broken(f"batches of every size: exit code {done.returncode}:\n{done.stderr[-3000:]}")
    before, after = map(int, done.stdout.split()[-2:])
    return Figure(
        "memory over batches of 1 to 32 pictures",
        f"{before} -> {after} MiB",
        after < before * (1 + SIZES_GROWTH),
    )


def generate(folder: Path, count: int) -> None:
    """Pictures of generated parts, no two alike."""
    from ppcls_sspcab.data.generated import render

    parts = [render(CATEGORIES[0], None, (7, number), SIZE)[0] for number in range(16)]
    rng = np.random.default_rng(0)
    for number in range(count):
        noise = rng.integers(-8, 9, (SIZE, SIZE, 3))
        pixels = (parts[number % len(parts)] + noise).clip(0, 255).astype(np.uint8)
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, compress_level=1)


def watch(name: str, words: list[str], count: int, log: Path, most: float) -> Figure:
    """Runs a command that scores ``count`` pictures; memory and handles must not grow."""
    output = Path(words[-1])
    samples = []
    with (
        log.open("ab") as stream,
        subprocess.Popen(
            [sys.executable, *words], stdout=stream, stderr=stream, env=environment()
        ) as process,
    ):
        while process.poll() is None:
            progress = sum(path.stat().st_size for path in output.parent.glob("*.part"))
            if progress:
                samples.append((progress, *looked_at(process.pid)))
            time.sleep(0.05)
    if process.returncode or len(output.read_text().splitlines()) != count:
        raise Broken(f"{name}: exit code {process.returncode}:\n{log.read_text()[-3000:]}")
    samples = [sample for sample in samples if sample[1]]
    # One more file may be open at the moment of a look: the picture that is being read.
    total = samples[-1][0]
    early = [s for s in samples if WARM_UP <= s[0] / total < WARM_UP + 0.1] or samples[:1]
    late = [s for s in samples if s[0] / total >= 0.9] or samples[-1:]
    memory = [statistics.median(sample[1] for sample in part) for part in (early, late)]
    handles = [max(sample[2] for sample in part) for part in (early, late)]
    growth = memory[1] / memory[0] - 1
    return Figure(
        f"memory of '{name}' after warm-up, handles",
        f"{growth:+.2%} of {memory[0]:.0f} MiB over {count} pictures; {handles[0]} -> "
        f"{handles[1]} handles, {late[-1][3]} children",
        growth < most and handles[1] <= handles[0] + 1 and late[-1][3] == 0,
    )


def looked_at(pid: int) -> tuple[float, int, int]:
    """Resident MiB, open files and child processes; zeros once the process is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        handles = len(os.listdir(f"/proc/{pid}/fd"))
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, handles, len(children)
    except OSError:
        return 0.0, 0, 0


# ---------------------------------------------------------------------------------- bad files


def fuzz(cases: int) -> Figure:
    """Spoilt pictures: the right pixels, or one error that names the file."""
    from fuzzing import fuzz_pictures

    refused = fuzz_pictures(cases)
    return Figure("pictures fuzzed", f"{cases} cases, {refused} refused by name", True)


def untrusted(place: Path) -> Figure:
    """Files that would run code, lead elsewhere or end in a traceback."""
    from hostile import HOSTILE, refused

    count = sum(refused(name, place / str(number)) for number, name in enumerate(HOSTILE))
    return Figure("hostile files refused", f"{count}/{len(HOSTILE)}", count == len(HOSTILE))


# ---------------------------------------------------------------------------------- the table


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def soak(place: Path, count: int, pictures: int, cases: int, seed: int) -> list[Figure]:
    """All parts; one that breaks down is a promise that was not kept."""
    parts: dict[str, Callable[[Path], Figure | list[Figure]]] = {
        "kills survived, the weights as undisturbed": lambda folder: kills(folder, count, seed),
        "memory after warm-up": lambda folder: long_run(folder, pictures),
        "pictures fuzzed": lambda folder: fuzz(cases),
        "hostile files refused": untrusted,
    }
    figures: list[Figure] = []
    for number, (promise, run) in enumerate(parts.items()):
        say(promise)
        folder = place / f"part{number}"
        folder.mkdir(parents=True)
        try:
            found = run(folder)
            figures += found if isinstance(found, list) else [found]
        except Exception as error:
            say(f"{promise}: {error!r}")
            figures.append(Figure(promise, f"FAILED: {str(error).splitlines()[0][:200]}", False))
        shutil.rmtree(folder, ignore_errors=True)
    return figures


def main() -> int:
    """The command line; 1 if a promise was not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--cases", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.work:
        return work(*options.work)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as place:
        figures = soak(Path(place), options.kills, options.pictures, options.cases, options.seed)
    width = max(len(figure.promise) for figure in figures)
    for figure in figures:
        verdict = "ok  " if figure.kept else "FAIL"
        print(f"{verdict}  {figure.promise:<{width}}  {figure.value}")
    kept = all(figure.kept for figure in figures)
    print(f"SOAK {'OK' if kept else 'FAILED'} seconds={time.monotonic() - started:.0f}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
