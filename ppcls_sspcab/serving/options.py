"""The options of ``ppcls-sspcab serve``."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from ppcls_sspcab.serving.settings import Settings, named_models

_DEFAULTS = {item.name: item.default for item in fields(Settings)}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options to a parser."""
    _add(
        parser,
        "models",
        "--model",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="folder that 'export' wrote; may stand several times",
    )
    _add(parser, "backend", "--backend", choices=["auto", "paddle", "onnx", "openvino"])
    _add(parser, "precision", "--precision", choices=["fp32", "int8"])
    _add(parser, "threads", "--threads", type=_whole, help="of a network; default: all cores")
    _add(parser, "batch", "--batch", type=_whole, help="most pictures run together")
    _add(parser, "wait_ms", "--wait-ms", type=_positive, help="a picture waits for others so long")
    _add(parser, "queue", "--queue", type=_whole, help="most pictures of a model taken at once")
    _add(parser, "host", "--host", help="other than loopback needs --token-file")
    _add(parser, "port", "--port", type=_port)
    _add(parser, "database", "--database", metavar="URL", help="sqlite:///FILE or postgresql://...")
    _add(parser, "store", "--store", type=Path, metavar="DIR", help="folder for kept pictures")
    _add(parser, "keep", "--keep", metavar="RULE", help="all, anomalies, every:N or none")
    _add(parser, "keep_days", "--keep-days", type=_positive, help="remove older pictures")
    _add(parser, "keep_gib", "--keep-gib", type=_positive, help="remove the oldest beyond that")
    _add(parser, "token_file", "--token-file", type=Path, metavar="FILE", help="lines 'ROLE TOKEN'")
    _add(parser, "certificate", "--tls-cert", type=Path, metavar="PEM")
    _add(parser, "key", "--tls-key", type=Path, metavar="PEM")
    _add(parser, "body_mib", "--body-mib", type=_positive, help="of one request")
    _add(parser, "megapixels", "--megapixels", type=_positive, help="of one picture")
    _add(parser, "pictures", "--pictures", type=_whole, help="of one request")
    _add(parser, "rate", "--rate", type=_rate, help="requests a second of one address; 0: any")
    _add(parser, "seconds", "--seconds", type=_positive, help="in which a request is answered")


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings that were given.

    Raises:
        UserError: what :class:`Settings` refuses.
    """
    values = {name: getattr(options, name) for name in _DEFAULTS if hasattr(options, name)}
    return Settings(**{**values, "models": named_models(options.models)})


def _add(parser: argparse.ArgumentParser, name: str, option: str, **more: Any) -> None:
    default = _DEFAULTS[name]
    more.setdefault("default", default)
    if "help" in more and isinstance(default, (int, float, str)):
        more["help"] += f"; default {default}"
    parser.add_argument(option, dest=name, **more)


def _whole(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {text}")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"must be 0 to 65535, not {text}")
    return value


def _rate(text: str) -> float:
    return 0.0 if float(text) == 0 else _positive(text)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value
