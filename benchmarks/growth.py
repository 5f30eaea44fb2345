"""How time, memory and the model's size grow with pictures and categories.

``python benchmarks/growth.py --output FILE.md``. Every row trains (few steps), fits and evaluates
in a process of its own, on generated pictures.
"""

from __future__ import annotations

import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common
from ppcls_sspcab.utils.machine import peak_memory_mib
from ppcls_sspcab.utils.table import markdown_table

LARGE_CACHE = 4096  # MiB, the rest of the recipe's default


def main() -> int:
    """Measures and publishes; as ``--worker`` it is one row."""
    parser = common.parser("Growth with pictures and categories.")
    parser.add_argument("--size", type=int, default=64, help="side of a picture, pixels")
    parser.add_argument("--pictures", type=_numbers, default=[100, 1000, 3000, 10000])
    parser.add_argument("--categories", type=_numbers, default=[1, 5, 15])
    parser.add_argument("--each", type=int, default=40, help="pictures of a category of several")
    parser.add_argument("--small-cache", type=int, default=16, help="MiB")
    parser.add_argument("--data", help="folder of the pictures; workers only")
    parser.add_argument("--cache", type=int, help="MiB; workers only")
    options = common.parsed(parser)
    if options.worker:
        common.serve({"run": partial(_run, options.worker, options)})
        return 0
    parts = ["## Pictures", *_pictures(options), "## Categories", *_categories(options)]
    title = f"Growth: pictures of {options.size} px, two training steps each"
    common.publish(title, parts, options.output)
    return 0


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _pictures(options: Any) -> list[str]:
    rows, found = [], []
    for count in options.pictures:
        with tempfile.TemporaryDirectory() as folder:
            common.write_category(Path(folder), "noise", count, 8, 8, options.size)
            for cache in (LARGE_CACHE, options.small_cache):
                result = _ask(options, folder, "noise", cache)
                found.append((count, cache, result))
                rows.append([count, cache, *_cells(result)])
    large = [(count, result) for count, cache, result in found if cache == LARGE_CACHE]
    counts = [count for count, _ in large]
    sizes = {result["bytes"] for _, result in large}
    header = ["pictures", "cache, MiB", "seconds", "peak memory, MiB", "detector, MiB"]
    notes = [_line("Time", counts, [r["seconds"] for _, r in large], "s", "picture")]
    for cache in (LARGE_CACHE, options.small_cache):
        peaks = [result["peak_mib"] for _, used, result in found if used == cache]
        notes.append(_line(f"Memory, {cache} MiB of cache", counts, peaks, "MiB", "picture"))
    same = "the same" if len(sizes) == 1 else f"between {min(sizes)} and {max(sizes)} bytes"
    notes.append(f"The detector's size is {same} for all.")
    return [markdown_table(header, rows), " ".join(notes)]


def _categories(options: Any) -> list[str]:
    rows, seconds, peaks = [], [], []
    for count in options.categories:
        with tempfile.TemporaryDirectory() as folder:
            for index in range(count):
                common.write_category(
                    Path(folder), f"noise{index:02d}", options.each, 8, 8, options.size
                )
            result = _ask(options, folder, "all", LARGE_CACHE)
        seconds.append(result["seconds"])
        peaks.append(result["peak_mib"])
        rows.append([count, *_cells(result)])
    header = ["categories", "seconds", "peak memory, MiB", "each detector, MiB"]
    notes = [
        _line("Time", options.categories, seconds, "s", "category"),
        _line("Memory", options.categories, peaks, "MiB", "category"),
    ]
    return [markdown_table(header, rows), " ".join(notes)]


def _ask(options: Any, folder: str, category: str, cache: int) -> dict[str, float]:
    words = ["--worker", category, "--data", folder, "--cache", str(cache)]
    worker = common.own_worker(__file__, [*words, "--size", str(options.size)], launcher=True)
    result = worker.ask("run")
    worker.close()
    return result


def _cells(result: dict[str, float]) -> list[str]:
    return [
        f"{result['seconds']:.1f}",
        f"{result['peak_mib']:.0f}",
        f"{result['bytes'] / 2**20:.1f}",
    ]


def _line(what: str, counts: list[int], values: list[float], unit: str, thing: str) -> str:
    """The straight line through the values, and how far they lie from it."""
    if len(set(counts)) < 2:
        return f"{what}: one value, no line."
    slope, start = np.polyfit(counts, values, 1)
    away = np.abs(np.polyval([slope, start], counts) - values) / values
    return (
        f"{what}: {start:.1f} {unit} + {slope:.4g} {unit} a {thing}; "
        f"no value is further from this line than {away.max():.0%}."
    )


def _run(category: str, options: Any) -> dict[str, float]:
    from ppcls_sspcab.config.load import load_config
    from ppcls_sspcab.engine.engine import Engine

    with tempfile.TemporaryDirectory() as folder:
        overrides = [
            f"Global.data_root={options.data}",
            f"Global.category={category}",
            f"Global.output_dir={folder}",
            f"Global.cache_mb={options.cache}",
            "Global.epochs=1",
            "Global.iter_per_epoch=2",
            f"Preprocess.image_size=[{options.size}, {options.size}]",
        ]
        config = load_config(common.CONFIGS / "demo.yaml", overrides)
        started = time.perf_counter()
        paths = Engine(config, "train").train()
        Engine(config, "eval").eval()
        seconds = time.perf_counter() - started
        sizes = [path.stat().st_size for path in paths]
    peak = peak_memory_mib()
    return {"seconds": seconds, "peak_mib": peak, "bytes": max(sizes)}


if __name__ == "__main__":
    sys.exit(main())
