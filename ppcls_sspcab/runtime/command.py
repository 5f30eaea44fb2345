"""The command line of the deployed model: what ``deploy/infer.py`` and ``predict.py`` run."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from ppcls_sspcab.errors import UserError
from ppcls_sspcab.image.batches import Record
from ppcls_sspcab.image.maps import MapWriter
from ppcls_sspcab.image.sources import find_pictures
from ppcls_sspcab.result import (
    ANOMALY_FOUND,
    UNJUDGED,
    Result,
    Verdicts,
    exit_code,
    opened,
    threshold_option,
    write_records,
)
from ppcls_sspcab.runtime.predictor import BACKENDS, Predictor, runs_paddle
from ppcls_sspcab.utils.launcher import launch
from ppcls_sspcab.utils.program import run_program


def main(arguments: Sequence[str] | None = None, backend: str = "auto") -> int:
    """Scores pictures with an exported model and writes one record each.

    Args:
        arguments: the words after the program's name; default ``sys.argv[1:]``.
        backend: default of ``--backend``.

    Returns:
        the exit code: with ``--fail-on-anomaly`` that of :func:`ppcls_sspcab.result.exit_code`,
        else that of :func:`ppcls_sspcab.utils.program.run_program`.
    """

    def run() -> int:
        options = _parser(backend).parse_args(arguments)
        return exit_code(lambda: _predict(options), options.fail_on_anomaly)

    return run_program(run)


def _predict(options: argparse.Namespace) -> Verdicts:
    if runs_paddle(options.model, options.backend, options.precision):
        launch()
    folder = options.save_maps
    paths = find_pictures(options.inputs, without=[Path(folder)] if folder else [])
    predictor = Predictor(
        options.model,
        options.backend,
        options.threads,
        options.device,
        options.threshold,
        options.onednn == "True",
        options.precision,
    )
    maps = _map_writer(predictor, folder, paths) if folder else None
    verdicts = Verdicts()
    with opened(options.output) as stream:
        records = predictor.stream(paths, options.batch_size)
        if maps is not None:
            records = _with_maps(records, maps)
        for record in write_records(records, stream, options.format):
            verdicts.add(record)
    return verdicts


def _map_writer(predictor: Predictor, folder: str, paths: Sequence[str]) -> MapWriter:
    if "map" not in predictor.card.outputs:
        raise UserError(
            "--save-maps: this model makes no maps: train its detector with Localize, and export it"
        )
    return MapWriter(folder, paths, predictor.card.preprocess.white)


def _with_maps(records: Iterator[Record], maps: MapWriter) -> Iterator[Record]:
    for record in records:
        if isinstance(record, Result) and record.map is not None:
            maps.write(record.path, record.map)
        yield record


def _parser(backend: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Score pictures with an exported model.")
    parser.add_argument("inputs", nargs="+", help="files, folders, globs or .txt lists")
    parser.add_argument("--model", required=True, metavar="DIR", help="folder that 'export' wrote")
    parser.add_argument("--backend", choices=["auto", *BACKENDS], default=backend)
    parser.add_argument("--device", default="cpu", help="cpu, or gpu[:<number>] with paddle")
    parser.add_argument(
        "--onednn",
        choices=["True", "False"],
        default="True",
        help="with paddle on the CPU: run by oneDNN, the default, or without",
    )
    parser.add_argument(
        "--precision", choices=["fp32", "int8"], default="fp32", help="int8: with onnx only"
    )
    parser.add_argument("--threads", type=_positive, help="default: all physical cores")
    parser.add_argument("--batch-size", type=_positive, default=8)
    parser.add_argument("--threshold", type=threshold_option, help="instead of the calibrated one")
    parser.add_argument("--output", help="file for the records; default: standard output")
    parser.add_argument("--format", choices=["jsonl", "csv"], default="jsonl")
    parser.add_argument(
        "--save-maps", metavar="DIR", help="write overlay, contour and 16-bit map of each picture"
    )
    parser.add_argument(
        "--fail-on-anomaly",
        action="store_true",
        help=f"exit code {ANOMALY_FOUND} if any is found, {UNJUDGED} if a picture cannot be judged",
    )
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value
