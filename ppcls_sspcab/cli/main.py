"""The console command ``ppcls-sspcab``; ``tools/*.py`` are faces of the same verbs.

Exit codes: 0 done; 1 some runs of a benchmark failed; 2 a user's mistake, one line on standard
error; 3 anomalies found and ``--fail-on-anomaly`` given; 130 interrupted, the state saved.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ppcls_sspcab.errors import UserError, one_line
from ppcls_sspcab.utils.files import atomic_write, why_not_written
from ppcls_sspcab.version import __version__

if TYPE_CHECKING:
    from ppcls_sspcab.engine.engine import Engine

Mode = Literal["train", "eval", "infer", "export"]

RUNS_FAILED = 1
ANOMALY_FOUND = 3
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Args:
        arguments: the words after the program's name; default ``sys.argv[1:]``.

    Returns:
        the exit code.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.verb(options)
    except UserError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader, such as head, has seen enough; what Python would still flush goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        reason = why_not_written(error)
        if reason is None:
            raise
        print(f"error: {error.filename or 'the output'}: {reason}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def run_tool(verb: str) -> int:
    """What ``tools/<verb>.py`` call: the verb with the script's own arguments."""
    return main([verb, *sys.argv[1:]])


def _train(options: argparse.Namespace) -> int:
    engine = _engine(options, "train")
    if engine is not None:
        engine.train()
    return 0


def _eval(options: argparse.Namespace) -> int:
    engine = _engine(options, "eval")
    if engine is not None:
        engine.eval(report=options.report)
    return 0


def _predict(options: argparse.Namespace) -> int:
    engine = _engine(options, "infer")
    if engine is None:
        return 0
    found = engine.infer(
        options.inputs or None,
        output=options.output,
        output_format=options.format,
        threshold=options.threshold,
        save_maps=options.save_maps,
    )
    return ANOMALY_FOUND if found and options.fail_on_anomaly else 0


def _export(options: argparse.Namespace) -> int:
    engine = _engine(options, "export")
    if engine is not None:
        engine.export(
            options.format.split(","), options.input, options.max_drop if options.int8 else None
        )
    return 0


def _calibrate(options: argparse.Namespace) -> int:
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


def _refit(options: argparse.Namespace) -> int:
    engine = _engine(options, "export")
    if engine is not None:
        from ppcls_sspcab.engine.refit import refit

        refit(engine.config, options.good)
    return 0


def _demo(options: argparse.Namespace) -> int:
    _launch()
    from ppcls_sspcab.cli.demo import run_demo

    return run_demo(Path(options.config), Path(options.output))


def _convert(options: argparse.Namespace) -> int:
    from ppcls_sspcab.utils.weights import convert

    convert(options.source, options.destination)
    print(options.destination)
    return 0


def _benchmark(options: argparse.Namespace) -> int:
    from ppcls_sspcab.study.study import benchmark

    complete = benchmark(
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


def _schema(options: argparse.Namespace) -> int:
    from ppcls_sspcab.config.config import load_plugins
    from ppcls_sspcab.config.json_schema import json_schema
    from ppcls_sspcab.config.page import markdown
    from ppcls_sspcab.utils.paddle_import import import_paddle

    import_paddle()
    load_plugins(options.plugin)
    schema = json_schema()
    text = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    if options.markdown:
        text = markdown(schema)
    if options.output:
        atomic_write(Path(options.output), text)
    else:
        print(text, end="")
    return 0


def _data_check(options: argparse.Namespace) -> int:
    from ppcls_sspcab.data.check import check

    return 0 if check(options.root, options.dataset, options.category) else 2


def _engine(options: argparse.Namespace, mode: Mode) -> Engine | None:
    """The engine for a verb, or None when ``--print-config`` was all that was asked."""
    from ppcls_sspcab.config.load import load_config

    config = load_config(options.config, options.override)
    if options.print_config:
        print(config.to_yaml(), end="")
        return None
    _launch()
    if config.Global.engine == "paddleclas":
        from ppcls_sspcab.integrations.paddleclas.engine import PaddleClasEngine

        return PaddleClasEngine(config, mode)
    from ppcls_sspcab.engine.engine import Engine

    return Engine(config, mode)


def _launch() -> None:
    from ppcls_sspcab.utils.launcher import launch
    from ppcls_sspcab.utils.logger import get_logger
    from ppcls_sspcab.utils.paddle_import import import_paddle

    settings = launch()
    import_paddle()
    if settings:
        text = " ".join(f"{name}={value}" for name, value in settings.items())
        get_logger().info(f"environment set for speed: {text}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ppcls-sspcab",
        description="Visual anomaly detection on PaddlePaddle: CutPaste with the SSPCAB block.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    _verb(verbs, "train", _train, "train a detector: network, density and threshold")
    evaluate = _verb(verbs, "eval", _eval, "measure a trained detector on the test pictures")
    evaluate.add_argument(
        "--report", action="store_true", help="also write report.html, with all test pictures"
    )

    predict = _verb(verbs, "predict", _predict, "score pictures", aliases=["infer"])
    predict.add_argument("inputs", nargs="*", help="files, folders, globs or .txt lists")
    predict.add_argument("--output", help="file for the records; default: standard output")
    predict.add_argument("--format", choices=["jsonl", "csv"], default="jsonl")
    predict.add_argument("--threshold", type=float, help="instead of the calibrated threshold")
    predict.add_argument(
        "--save-maps", metavar="DIR", help="write overlay, contour and 16-bit map of each picture"
    )
    predict.add_argument(
        "--fail-on-anomaly", action="store_true", help=f"exit code {ANOMALY_FOUND} if any is found"
    )

    export = _verb(verbs, "export", _export, "write the model for the runtimes, verified")
    export.add_argument("--format", default="paddle", help="paddle, onnx or paddle,onnx")
    export.add_argument("--input", choices=["float32", "uint8"], default="float32")
    export.add_argument("--int8", action="store_true", help="also quantised, for ONNX Runtime")
    export.add_argument(
        "--max-drop",
        type=float,
        default=1.0,
        metavar="POINTS",
        help="of AUROC on synthetic defects that --int8 may cost; default 1",
    )

    refit = _verb(verbs, "refit", _refit, "fit density and threshold to new good pictures; export")
    refit.add_argument("--good", required=True, metavar="FOLDER")

    calibrate = verbs.add_parser(
        "calibrate", help="set the threshold of an exported model by new good pictures"
    )
    calibrate.add_argument("--model", required=True, metavar="DIR", help="what 'export' wrote")
    calibrate.add_argument("--good", required=True, metavar="FOLDER")
    calibrate.add_argument("--target-fpr", type=float, default=0.05, metavar="SHARE")
    calibrate.add_argument("--backend", choices=["auto", "paddle", "onnx"], default="auto")
    calibrate.add_argument("--precision", choices=["fp32", "int8"], default="fp32")
    calibrate.add_argument(
        "--on-error", choices=["stop", "skip"], default="stop", help="at an unreadable picture"
    )
    calibrate.set_defaults(verb=_calibrate)

    convert = verbs.add_parser("convert", help="convert weights between .pdparams and .safetensors")
    convert.add_argument("source")
    convert.add_argument("destination")
    convert.set_defaults(verb=_convert)

    _add_benchmark(verbs)
    _add_data(verbs)
    _add_schema(verbs)

    demo = verbs.add_parser("demo", help="generate pictures, train, evaluate, export, predict")
    demo.add_argument("-c", "--config", default="configs/demo.yaml")
    demo.add_argument("--output", default="demo_output")
    demo.set_defaults(verb=_demo)
    return parser


def _add_benchmark(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    study = verbs.add_parser(
        "benchmark", help="train and evaluate configurations over categories and seeds; one table"
    )
    study.add_argument("-c", "--config", action="append", required=True, metavar="YAML")
    study.add_argument("-o", "--override", action="append", default=[], metavar="KEY=VALUE")
    study.add_argument("--data", metavar="ROOT", help="instead of Global.data_root")
    study.add_argument("--categories", default="all", help="all, or names between commas")
    study.add_argument("--seeds", type=int, default=3, metavar="N", help="0 to N - 1; default 3")
    study.add_argument(
        "--devices", default="auto", help="one run at a time on each: cpu, or gpu:0,gpu:1"
    )
    study.add_argument("--output", default="benchmark_output", metavar="DIR")
    study.add_argument(
        "--diagnose",
        action="store_true",
        help="also show what picking on the test set would have claimed; takes longer",
    )
    study.set_defaults(verb=_benchmark)


def _add_data(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    data = verbs.add_parser("data", help="look at a data set: 'data check ROOT'")
    data_verbs = data.add_subparsers(title="verbs", required=True, metavar="VERB")
    checked = data_verbs.add_parser(
        "check", help="counts, sizes, modes and masks of a data set; exit code 2 if one is wrong"
    )
    checked.add_argument("root", metavar="ROOT", help="folder of the data set, or a CSV file")
    checked.add_argument("--dataset", metavar="NAME", help="such as MVTecDataset; default: found")
    checked.add_argument("--category", help="only this one")
    checked.set_defaults(verb=_data_check)


def _add_schema(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    schema = verbs.add_parser(
        "schema", help="every key of a configuration, as a JSON Schema for editors"
    )
    schema.add_argument("--output", metavar="FILE", help="default: standard output")
    schema.add_argument(
        "--markdown", action="store_true", help="as the page docs/configuration.md instead"
    )
    schema.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="MODULE",
        help="import it first, so that its classes are known",
    )
    schema.set_defaults(verb=_schema)


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
    aliases: Sequence[str] = (),
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, aliases=list(aliases))
    parser.add_argument("-c", "--config", required=True, metavar="YAML")
    parser.add_argument(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set a key, such as Global.seed=1 or Loss.Train.0.CELoss.weight=2",
    )
    parser.add_argument(
        "--print-config", action="store_true", help="print the whole configuration and stop"
    )
    parser.set_defaults(verb=run)
    return parser
