"""The console command ``ppcls-sspcab``: its options; ``verbs.py`` holds what each verb does.

Exit codes: those of :func:`ppcls_sspcab.utils.program.run_program`, and 1 where some runs of a
study failed; with ``--fail-on-anomaly`` those of :func:`ppcls_sspcab.result.exit_code`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

from ppcls_sspcab.cli import verbs
from ppcls_sspcab.paths import shipped_config
from ppcls_sspcab.result import ANOMALY_FOUND, UNJUDGED, threshold_option
from ppcls_sspcab.serving.options import add_options
from ppcls_sspcab.utils.program import run_program
from ppcls_sspcab.version import __version__

Children: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Args:
        arguments: those after the program's name; default ``sys.argv[1:]``.

    Returns:
        the exit code.
    """

    def run() -> int:
        options = _parser().parse_args(arguments)
        return options.verb(options)

    return run_program(run)


def run_tool(verb: str) -> int:
    """What ``tools/<verb>.py`` call: the verb with the script's own arguments."""
    return main([verb, *sys.argv[1:]])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ppcls-sspcab",
        description="Visual anomaly detection on PaddlePaddle: CutPaste with the SSPCAB block.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    children = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    _configured(children, "train", verbs.train, "train a detector: network, density and threshold")
    _add_eval(children)
    _add_predict(children)
    _add_export(children)
    _add_refit(children)
    _add_calibrate(children)
    _add_serve(children)
    _add_convert(children)
    _add_study(children)
    _add_data(children)
    _add_schema(children)
    _add_demo(children)
    return parser


def _configured(
    children: Children,
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
    aliases: Sequence[str] = (),
    required: bool = True,
) -> argparse.ArgumentParser:
    """A verb that takes a configuration."""
    parser = children.add_parser(name, help=text, aliases=list(aliases))
    parser.add_argument("-c", "--config", required=required, metavar="YAML")
    _add_override(parser)
    parser.add_argument(
        "--print-config",
        dest="verb",
        action="store_const",
        const=verbs.print_config,
        default=run,
        help="print the whole configuration and stop",
    )
    return parser


def _add_override(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set a key, such as Global.seed=1 or Loss.Train.0.CELoss.weight=2",
    )


def _add_eval(children: Children) -> None:
    parser = _configured(
        children, "eval", verbs.evaluate, "measure a trained detector on the test pictures"
    )
    parser.add_argument(
        "--report", action="store_true", help="also write report.html, with all test pictures"
    )
    parser.add_argument("--threshold", type=float, help="instead of the calibrated threshold")


def _add_predict(children: Children) -> None:
    parser = _configured(
        children, "predict", verbs.predict, "score pictures", aliases=["infer"], required=False
    )
    parser.add_argument("--detector", metavar="FILE", help="what 'train' wrote; needs no -c")
    parser.add_argument("inputs", nargs="*", help="files, folders, globs or .txt lists")
    parser.add_argument("--output", help="file for the records; default: standard output")
    parser.add_argument("--format", choices=["jsonl", "csv"], default="jsonl")
    parser.add_argument(
        "--threshold", type=threshold_option, help="instead of the calibrated threshold"
    )
    parser.add_argument(
        "--save-maps", metavar="DIR", help="write overlay, contour and 16-bit map of each picture"
    )
    parser.add_argument(
        "--fail-on-anomaly",
        action="store_true",
        help=f"exit code {ANOMALY_FOUND} if any is found, {UNJUDGED} if a picture cannot be judged",
    )


def _add_export(children: Children) -> None:
    parser = _configured(
        children, "export", verbs.export, "write the model for the runtimes, verified"
    )
    parser.add_argument("--format", default="paddle", help="paddle, onnx or paddle,onnx")
    parser.add_argument("--input", choices=["float32", "uint8"], default="float32")
    parser.add_argument("--int8", action="store_true", help="also quantised, for ONNX Runtime")
    parser.add_argument(
        "--max-drop",
        type=float,
        default=1.0,
        metavar="POINTS",
        help="of AUROC on synthetic defects that --int8 may cost; default 1",
    )


def _add_refit(children: Children) -> None:
    parser = _configured(
        children, "refit", verbs.refit, "fit density and threshold to more good pictures; export"
    )
    parser.add_argument("--good", required=True, metavar="FOLDER")
    parser.add_argument(
        "--only", action="store_true", help="forget the old good pictures: fit to these alone"
    )


def _add_calibrate(children: Children) -> None:
    parser = children.add_parser(
        "calibrate", help="set the threshold of an exported model by new good pictures"
    )
    parser.add_argument("--model", required=True, metavar="DIR", help="what 'export' wrote")
    parser.add_argument("--good", required=True, metavar="FOLDER")
    parser.add_argument("--target-fpr", type=float, default=0.05, metavar="SHARE")
    parser.add_argument("--backend", choices=["auto", "paddle", "onnx", "openvino"], default="auto")
    parser.add_argument("--precision", choices=["fp32", "int8"], default="fp32")
    parser.add_argument(
        "--on-error", choices=["stop", "skip"], default="stop", help="at an unreadable picture"
    )
    parser.set_defaults(verb=verbs.calibrate)


def _add_serve(children: Children) -> None:
    parser = children.add_parser("serve", help="judge pictures over HTTP, and keep every verdict")
    add_options(parser)
    parser.set_defaults(verb=verbs.serve)


def _add_convert(children: Children) -> None:
    parser = children.add_parser(
        "convert", help="convert weights between .pdparams and .safetensors"
    )
    parser.add_argument("source")
    parser.add_argument("destination")
    parser.set_defaults(verb=verbs.convert)


def _add_study(children: Children) -> None:
    parser = children.add_parser(
        "study", help="train and evaluate configurations over categories and seeds; one table"
    )
    parser.add_argument("-c", "--config", action="append", required=True, metavar="YAML")
    _add_override(parser)
    parser.add_argument("--data", metavar="ROOT", help="instead of Global.data_root")
    parser.add_argument("--categories", default="all", help="all, or names between commas")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="0 to N - 1; default 3")
    parser.add_argument(
        "--devices", default="auto", help="one run at a time on each: cpu, or gpu:0,gpu:1"
    )
    parser.add_argument("--output", default="study_output", metavar="DIR")
    parser.add_argument(
        "--diagnose",
        action="store_true",
        help="also show what picking on the test set would have claimed; takes longer",
    )
    parser.set_defaults(verb=verbs.study)


def _add_data(children: Children) -> None:
    data = children.add_parser("data", help="check a data set, or generate one")
    data_verbs = data.add_subparsers(title="verbs", required=True, metavar="VERB")
    check = data_verbs.add_parser(
        "check", help="counts, sizes, modes and masks of a data set; exit code 2 if one is wrong"
    )
    check.add_argument("root", metavar="ROOT", help="folder of the data set, or a CSV file")
    check.add_argument("--dataset", metavar="NAME", help="such as MVTecDataset; default: found")
    check.add_argument("--category", help="only this one")
    check.set_defaults(verb=verbs.data_check)
    generate = data_verbs.add_parser(
        "generate",
        help="write generated pictures of good and defective parts, in MVTec AD's layout",
    )
    generate.add_argument("--output", required=True, metavar="DIR")
    generate.add_argument("--seed", type=int, default=0)
    generate.add_argument("--size", type=int, default=128, help="height and width in pixels")
    generate.add_argument("--train", type=int, default=60, help="good pictures to train on")
    generate.add_argument("--test", type=int, default=15, help="good pictures to test on")
    generate.add_argument("--bad", type=int, default=8, help="pictures of each kind of defect")
    generate.add_argument(
        "--categories",
        default="gasket,mesh",
        help="of gasket, mesh and screw, between commas; default gasket,mesh",
    )
    generate.set_defaults(verb=verbs.data_generate)


def _add_schema(children: Children) -> None:
    parser = children.add_parser(
        "schema", help="every key of a configuration, as a JSON Schema for editors"
    )
    parser.add_argument("--output", metavar="FILE", help="default: standard output")
    parser.add_argument(
        "--markdown", action="store_true", help="as the page docs/configuration.md instead"
    )
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="MODULE",
        help="import it first, so that its classes are known",
    )
    parser.set_defaults(verb=verbs.schema)


def _add_demo(children: Children) -> None:
    parser = children.add_parser("demo", help="generate pictures, train, evaluate, export, predict")
    parser.add_argument("-c", "--config", default=shipped_config("demo.yaml"), metavar="YAML")
    _add_override(parser)
    parser.add_argument("--output", default="demo_output")
    parser.set_defaults(verb=verbs.demo)
