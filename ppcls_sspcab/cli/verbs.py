"""What each verb of the console command does with its options; each returns the exit code.

Whatever is slow to import is imported by the verb that needs it: ``--help`` is to be quick.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppcls_sspcab.errors import UserError
from ppcls_sspcab.result import Verdicts, exit_code

if TYPE_CHECKING:
    from ppcls_sspcab.engine.engine import Engine, Mode

RUNS_FAILED = 1
DATA_WRONG = 2


def print_config(options: argparse.Namespace) -> int:
    from ppcls_sspcab.config.load import load_config

    if options.config is None:
        raise UserError("--print-config needs -c YAML")
    print(load_config(options.config, options.override).to_yaml(), end="")
    return 0


def train(options: argparse.Namespace) -> int:
    _engine(options, "train").train()
    return 0


def evaluate(options: argparse.Namespace) -> int:
    _engine(options, "eval").eval(report=options.report, threshold=options.threshold)
    return 0


def predict(options: argparse.Namespace) -> int:
    if options.config is None and (options.detector is None or options.override):
        raise UserError("give -c YAML or --detector FILE; -o needs -c")
    wanted = {
        "output": options.output,
        "output_format": options.format,
        "threshold": options.threshold,
        "save_maps": options.save_maps,
    }

    def judge() -> Verdicts:
        if options.detector is not None:
            return _predict_by_file(options, wanted)
        return _engine(options, "infer").infer(options.inputs, **wanted)

    return exit_code(judge, options.fail_on_anomaly)


def _predict_by_file(options: argparse.Namespace, wanted: dict[str, Any]) -> Verdicts:
    from ppcls_sspcab.config.load import load_config

    config = load_config(options.config, options.override) if options.config else None
    _prepare_paddle()
    from ppcls_sspcab.engine.predict import predict_by_file

    return predict_by_file(options.detector, config, options.inputs, **wanted)


def export(options: argparse.Namespace) -> int:
    _engine(options, "export").export(
        options.format.split(","), options.input, options.max_drop if options.int8 else None
    )
    return 0


def refit(options: argparse.Namespace) -> int:
    config = _engine(options, "export").config
    from ppcls_sspcab.engine.refit import refit

    refit(config, options.good, options.only)
    return 0


def calibrate(options: argparse.Namespace) -> int:
    from ppcls_sspcab.runtime.calibrate import calibrate

    calibrate(
        options.model,
        options.good,
        options.target_fpr,
        options.backend,
        options.precision,
        options.on_error,
    )
    return 0


def serve(options: argparse.Namespace) -> int:
    from ppcls_sspcab.serving.options import settings_of

    settings = settings_of(options)
    from ppcls_sspcab.serving.command import serve

    return serve(settings)


def convert(options: argparse.Namespace) -> int:
    from ppcls_sspcab.utils.weights import convert

    convert(options.source, options.destination)
    print(options.destination)
    return 0


def study(options: argparse.Namespace) -> int:
    from ppcls_sspcab.study.study import run_study

    complete = run_study(
        options.config,
        Path(options.output),
        overrides=options.override,
        data_root=options.data,
        categories=options.categories,
        seeds=options.seeds,
        devices=options.devices.split(","),
        diagnose=options.diagnose,
    )
    return 0 if complete else RUNS_FAILED


def schema(options: argparse.Namespace) -> int:
    import json

    from ppcls_sspcab.config.config import load_plugins
    from ppcls_sspcab.config.json_schema import json_schema
    from ppcls_sspcab.config.page import markdown
    from ppcls_sspcab.utils.files import atomic_write
    from ppcls_sspcab.utils.paddle_import import import_paddle

    import_paddle()
    load_plugins(options.plugin)
    found = json_schema()
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    if options.markdown:
        text = markdown(found)
    if options.output:
        atomic_write(options.output, text)
    else:
        print(text, end="")
    return 0


def data_check(options: argparse.Namespace) -> int:
    from ppcls_sspcab.data.check import check

    return 0 if check(options.root, options.dataset, options.category) else DATA_WRONG


def data_generate(options: argparse.Namespace) -> int:
    from ppcls_sspcab.data.generated import generate_demo

    generate_demo(
        options.output,
        options.seed,
        size=options.size,
        train=options.train,
        test=options.test,
        bad=options.bad,
        categories=options.categories.split(","),
    )
    print(f"{options.output}: {options.categories.replace(',', ', ')}")
    return 0


def demo(options: argparse.Namespace) -> int:
    _prepare_paddle()
    from ppcls_sspcab.cli.demo import run_demo

    run_demo(options.config, Path(options.output), options.override)
    return 0


def _engine(options: argparse.Namespace, mode: Mode) -> Engine:
    from ppcls_sspcab.config.load import load_config

    config = load_config(options.config, options.override)
    _prepare_paddle()
    from ppcls_sspcab.api import open_engine

    return open_engine(config, mode)


def _prepare_paddle() -> None:
    """Restarts this process in the environment that is fast, and loads Paddle."""
    from ppcls_sspcab.utils.launcher import launch
    from ppcls_sspcab.utils.logger import get_logger
    from ppcls_sspcab.utils.paddle_import import import_paddle

    settings = launch()
    import_paddle()
    if settings:
        names = sorted({"MALLOC_*" if name.startswith("MALLOC_") else name for name in settings})
        get_logger().info(f"environment set for speed: {' '.join(names)}")
