"""Seconds of a training step on the CPU: plain Paddle, this project, and PyTorch.

``python benchmarks/training_step.py --torch-python PATH --output FILE.md``. Each contender is a
process of its own; they take turns. *Plain Paddle* is the same network in a process whose
environment nobody has tuned, with frozen stages in eager mode. ``PATH`` is the Python of an
environment with PyTorch; without it PyTorch's rows say that they were not measured. PyTorch runs
twice, because its threads spin while they wait: where other processes want the cores as well, that
makes its steps several times longer, which would flatter us. We are compared with the faster one.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common
from ppcls_sspcab.utils.table import markdown_table

PLAIN, OURS, TORCH = "plain Paddle", "this project", "PyTorch"
TORCHES: dict[str, dict[str, str]] = {
    f"{TORCH} as installed": {},
    f"{TORCH}, threads that do not spin": {"GOMP_SPINCOUNT": "0"},
}
RECIPES = {"full": "null", "frozen": "[conv1, bn1, layer1, layer2]"}
HEADINGS = {"full": "All layers trained", "frozen": "Stem, layer1 and layer2 frozen"}
TARGET_PLAIN, TARGET_TORCH, LEAST_TORCH = 2.5, 1.0, 0.6


def main() -> int:
    """Measures and publishes; as ``--worker`` it is one contender."""
    parser = common.parser("Training step on the CPU, compared.")
    parser.add_argument("--views", type=int, default=24, help="pictures in the network's batch")
    parser.add_argument("--size", type=int, default=256, help="side of a picture, pixels")
    parser.add_argument("--torch-python", metavar="PATH", help="Python that has PyTorch")
    parser.add_argument("--recipe", choices=RECIPES, help="only this one; default: both")
    options = common.parsed(parser)
    if options.worker:
        step = PaddleStep(options.worker, options.recipe, options.views, options.size)
        common.serve({"step": step, "profile": step.profile, "limit": step.limit})
        return 0
    parts = []
    for recipe in [options.recipe] if options.recipe else RECIPES:
        parts += _compare(options, recipe)
    title = f"A training step: {options.views} views of {options.size} px, ResNet-18 with SSPCAB"
    common.publish(title, parts, options.output)
    return 0


def _compare(options: Any, recipe: str) -> list[str]:
    words = ["--views", str(options.views), "--size", str(options.size), "--recipe", recipe]
    workers = {
        PLAIN: common.own_worker(__file__, ["--worker", PLAIN, *words], launcher=False),
        OURS: common.own_worker(__file__, ["--worker", OURS, *words], launcher=True),
    }
    if options.torch_python:
        script = Path(__file__).with_name("torch_step.py")
        command = [options.torch_python, str(script), *words]
        for name, settings in TORCHES.items():
            workers[name] = common.Worker(command, launcher=False, settings=settings)
    calls = {name: partial(worker.ask, "step") for name, worker in workers.items()}
    seconds = common.in_turns(calls, options.rounds)
    limits = {name: workers[name].ask("limit") for name in (PLAIN, OURS)}
    profile = workers[OURS].ask("profile")
    for worker in workers.values():
        worker.close()
    return [f"## {HEADINGS[recipe]}", *_tables(recipe, seconds, limits, profile)]


def _tables(recipe: str, seconds: dict, limits: dict, profile: dict) -> list[str]:
    rows = []
    for name, values in seconds.items():
        median = statistics.median(values)
        times, target = common.ratio(seconds[PLAIN], values), ""
        if name == OURS:
            target = f"{TARGET_PLAIN} x: {common.verdict(times, TARGET_PLAIN)}"
        rows.append([name, f"{median:.2f}", f"{min(values):.2f}", f"{times:.2f}", target])
    torches = [name for name in TORCHES if name in seconds]
    if torches:
        faster = min(torches, key=lambda name: statistics.median(seconds[name]))
        ours = common.ratio(seconds[faster], seconds[OURS])
        goal = ""
        if recipe == "frozen":
            goal = f"{TARGET_TORCH}: {common.verdict(ours, TARGET_TORCH)}, "
            goal += f"no less than {LEAST_TORCH}: {common.verdict(ours, LEAST_TORCH)}"
        rows.append([f"{OURS} against {faster}", "", "", f"{ours:.2f} (times as fast)", goal])
    else:
        rows.append([TORCH, "not measured", "", "", ""])
    comparison = markdown_table(
        ["", "s/step, median", "fastest", "times as fast as plain Paddle", "target"], rows
    )
    ideal = limits[OURS]["multiply_adds"] / limits[OURS]["numpy"]
    fastest = min(seconds[OURS])
    speeds = ", ".join(f"{limits[name]['paddle'] / 1e9:.0f} in {name}" for name in limits)
    distance = (
        f"Multiply-adds of a step: {limits[OURS]['multiply_adds'] / 1e9:.0f} * 10^9. Matrix "
        f"products of Paddle, 10^9 multiply-adds/s: {speeds}; of numpy "
        f"{limits[OURS]['numpy'] / 1e9:.0f}. At numpy's speed the step would take {ideal:.2f} s: "
        f"our fastest takes {fastest / ideal:.1f} times as long."
    )
    parts = _shares("part of our step", profile["parts"])
    return [comparison, distance, parts, _shares("operator of Paddle", profile["kernels"])]


def _shares(title: str, seconds: dict[str, float]) -> str:
    """A table of the ten longest."""
    whole = sum(seconds.values())
    longest = sorted(seconds.items(), key=lambda pair: -pair[1])[:10]
    rows = [[name, f"{value:.3f}", f"{value / whole:.0%}"] for name, value in longest]
    return markdown_table([title, "s", "share"], rows)


class PaddleStep:
    """Forward, backward and optimizer of one fixed batch; calling it returns the seconds.

    Args:
        name: ``PLAIN`` or ``OURS``: whether frozen stages run by oneDNN.
        recipe: of ``RECIPES``.
        views, size: pictures in the batch and their side.
    """

    def __init__(self, name: str, recipe: str, views: int, size: int) -> None:
        import numpy as np
        import paddle

        from ppcls_sspcab.arch.build import build_network
        from ppcls_sspcab.config.load import load_config
        from ppcls_sspcab.engine.frozen_stem import FrozenStem
        from ppcls_sspcab.loss.combined import CombinedLoss
        from ppcls_sspcab.optimizer import build_optimizer, build_schedule

        paddle.set_device("cpu")
        overrides = ["Arch.pretrained=false", "Arch.untrained=null"]
        overrides.append(f"Arch.freeze={RECIPES[recipe]}")
        config = load_config(common.CONFIGS / "cutpaste_sspcab_cpu.yaml", overrides)
        paddle.seed(0)
        self._network = build_network(config, 3)
        self._loss = CombinedLoss(config.Loss.Train)
        section = config.Optimizer
        schedule = build_schedule(section, 100, 100)
        self._optimizer = build_optimizer(section, schedule, self._network)
        self._stem = FrozenStem.of(self._network, (size, size)) if name == OURS else None
        pixels = np.random.default_rng(0).normal(size=(views, 3, size, size))
        self._images = paddle.to_tensor(pixels.astype(np.float32))
        self._labels = paddle.to_tensor(np.arange(views).reshape(-1, 1) % 3)
        self.parts: dict[str, float] = {}

    def __call__(self) -> float:
        self._network.train()
        clock = time.perf_counter
        started = clock()
        if self._stem is None:
            stem_done, output = started, self._network(self._images)
        else:
            features = self._stem(self._images)
            stem_done = clock()
            with self._stem.skipped():
                output = self._network(features)
        loss = self._loss(output, self._labels)["loss"]
        float(loss)
        forward_done = clock()
        loss.backward()
        backward_done = clock()
        self._optimizer.step()
        self._optimizer.clear_grad()
        ended = clock()
        self.parts = {
            "frozen stages, by oneDNN": stem_done - started,
            "forward and loss": forward_done - stem_done,
            "backward": backward_done - forward_done,
            "optimizer": ended - backward_done,
        }
        return ended - started

    def limit(self) -> dict[str, float]:
        """Multiply-adds of the step, and multiply-adds a second of numpy and Paddle."""
        import paddle

        from ppcls_sspcab.runtime.speed import matrix_speed

        left, speeds = paddle.randn([1024, 1024]), []
        for _ in range(10):
            started = time.perf_counter()
            float((left @ left)[0, 0])
            speeds.append(1024**3 / (time.perf_counter() - started))
        return {
            "multiply_adds": float(self._multiply_adds()),
            "numpy": matrix_speed(),
            "paddle": max(speeds),
        }

    def profile(self) -> dict[str, dict[str, float]]:
        """Seconds of one step by its parts, and by Paddle's operators as its profiler saw them."""
        from paddle import profiler

        seen: dict[str, float] = {}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            # Left to itself, the profiler writes its trace into the working folder.
            keep = {"targets": [profiler.ProfilerTarget.CPU], "on_trace_ready": lambda _: None}
            with profiler.Profiler(**keep) as running:
                self()
            running.export(str(path), format="json")
            for event in json.loads(path.read_text())["traceEvents"]:
                # Operators contain each other; "kernel launch" is the innermost event, and the
                # predictor's oneDNN operators have none.
                name = str(event.get("name", "")).partition("[")[0]
                kernel = name.removesuffix(" kernel launch").removeprefix("onednn_op.")
                if event.get("ph") == "X" and kernel != name:
                    seen[kernel] = seen.get(kernel, 0.0) + event["dur"] / 1e6
        return {"parts": self.parts, "kernels": seen}

    def _multiply_adds(self) -> int:
        """Of convolutions and matrix products: forward once, and twice more where trained.

        The first trained layer's input needs no gradient; this is not taken off.
        """
        import numpy as np
        from paddle import nn

        from ppcls_sspcab.arch.sspcab import SSPCAB

        frozen = {
            id(layer)
            for part in self._network.frozen_for_good
            for layer in part.sublayers(include_self=True)
        }
        total = 0

        def count(layer: nn.Layer, given: object, output: Any) -> None:
            nonlocal total
            weight = layer.conv.weight if isinstance(layer, SSPCAB) else layer.weight
            inputs = weight.shape[0] if isinstance(layer, nn.Linear) else np.prod(weight.shape[1:])
            total += int(np.prod(output.shape) * inputs) * (1 if id(layer) in frozen else 3)

        hooks = [
            layer.register_forward_post_hook(count)
            for layer in self._network.sublayers()
            if isinstance(layer, (nn.Conv2D, nn.Linear, SSPCAB))
        ]
        self._network(self._images)
        for hook in hooks:
            hook.remove()
        return total


if __name__ == "__main__":
    sys.exit(main())
