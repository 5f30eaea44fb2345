"""Fitting a detector and evaluating it on the CPU: by oneDNN, as it is done, and in eager mode.

``python benchmarks/evaluation.py --output FILE.md``. Half of the pictures fit the detector, half
are evaluated, with the metrics and the maps. Eager mode runs the same detector, once in an
environment that nobody has tuned and once in the launcher's.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common
from ppcls_sspcab.utils.table import markdown_table

OURS, EAGER, PLAIN = "this project", "eager, launcher's environment", "eager, as installed"
TARGET = 4.0


def main() -> int:
    """Measures and publishes; as ``--worker`` it is one contender."""
    parser = common.parser("Fit and evaluation on the CPU, compared.")
    parser.add_argument("--size", type=int, default=256, help="side of a picture, pixels")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--data", help="folder of the pictures; workers only")
    options = common.parsed(parser)
    if options.worker:
        run = Run(options.worker != OURS, Path(options.data), options.size)
        common.serve({"warm up": run.warm_up, "run": run})
        return 0
    with tempfile.TemporaryDirectory() as folder:
        half = options.pictures // 2
        common.write_category(
            Path(folder), "noise", half, half // 2, half - half // 2, options.size
        )
        seconds = _measure(options, folder)
    title = f"Fit and evaluation of {options.pictures} pictures of {options.size} px"
    common.publish(title, [_table(seconds)], options.output)
    return 0


def _measure(options: Any, folder: str) -> dict[str, dict[str, list[float]]]:
    words = ["--size", str(options.size), "--data", folder]
    workers = {
        name: common.own_worker(__file__, ["--worker", name, *words], launcher=name != PLAIN)
        for name in (PLAIN, EAGER, OURS)
    }
    found: dict[str, dict[str, list[float]]] = {name: {} for name in workers}

    def run(name: str) -> float:
        for part, seconds in workers[name].ask("run").items():
            found[name].setdefault(part, []).append(seconds)
        return found[name]["whole"][-1]

    for worker in workers.values():
        worker.ask("warm up")
    common.in_turns({name: partial(run, name) for name in workers}, options.rounds, warm_up=0)
    for worker in workers.values():
        worker.close()
    return found


def _table(seconds: dict[str, dict[str, list[float]]]) -> str:
    rows = []
    for name, parts in seconds.items():
        medians = [f"{statistics.median(values):.1f}" for values in parts.values()]
        times = common.ratio(parts["whole"], seconds[OURS]["whole"])
        target = "" if name == OURS else f"{TARGET} x: {common.verdict(times, TARGET)}"
        rows.append([name, *medians, f"{times:.2f}", target])
    header = ["", *(f"{part}, s" for part in seconds[OURS])]
    return markdown_table([*header, "times as long as this project", "target"], rows)


class Run:
    """Fits and evaluates; calling it returns the seconds of both parts and the whole.

    Args:
        eager: without oneDNN.
        root: folder of the category ``noise``.
        size: side of the pictures.
    """

    def __init__(self, eager: bool, root: Path, size: int) -> None:
        import paddle

        from ppcls_sspcab.arch.build import build_network
        from ppcls_sspcab.config.load import load_config
        from ppcls_sspcab.data.build import build_dataset, build_store, good_pictures

        paddle.set_device("cpu")
        overrides = [
            f"Global.data_root={root}",
            "Global.category=noise",
            f"Preprocess.image_size=[{size}, {size}]",
            "Arch.pretrained=false",
        ]
        self._eager = eager
        self._config = load_config(common.CONFIGS / "cutpaste_sspcab_cpu.yaml", overrides)
        paddle.seed(0)
        self._network = build_network(self._config, 3)
        self._network.eval()
        self._pictures = good_pictures(self._config)
        self._test = build_store(self._config, build_dataset(self._config).test, "reading")

    def warm_up(self) -> bool:
        """One small batch through the network."""
        import paddle

        height, width = self._config.Preprocess.image_size
        with paddle.no_grad():
            self._network(paddle.zeros([2, 3, height, width]))
        return True

    def __call__(self) -> dict[str, float]:
        from ppcls_sspcab.detector.build import build_threshold, unfitted_detector
        from ppcls_sspcab.detector.card import DetectorCard
        from ppcls_sspcab.evaluation.evaluate import evaluate
        from ppcls_sspcab.fitting.fit import fit_detector

        with _without_onednn() if self._eager else ExitStack():
            started = time.perf_counter()
            unfitted = unfitted_detector(self._config, self._network)
            threshold = build_threshold(self._config)
            fitted = fit_detector(unfitted, threshold, self._config, self._pictures)
            fit_done = time.perf_counter()
            card = DetectorCard({}, {}, self._config.Preprocess, "noise")
            evaluate(fitted.detector, card, self._test, self._config)
            ended = time.perf_counter()
        return {
            "fit": fit_done - started,
            "evaluation": ended - fit_done,
            "whole": ended - started,
        }


def _without_onednn() -> ExitStack:
    stack = ExitStack()
    for module in ("fitting.fit", "evaluation.evaluate"):
        stack.enter_context(patch(f"ppcls_sspcab.{module}.accelerated", nullcontext))
    return stack


if __name__ == "__main__":
    sys.exit(main())
