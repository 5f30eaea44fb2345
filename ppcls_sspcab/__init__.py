"""Visual anomaly detection on PaddlePaddle by CutPaste self-supervision with the SSPCAB block.

``import ppcls_sspcab as ad`` loads neither Paddle nor numpy: each name is imported when it is first
used. ``docs/api.md`` shows them all.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ppcls_sspcab.errors import UserError
from ppcls_sspcab.version import __version__

if TYPE_CHECKING:
    from ppcls_sspcab.api import evaluate, export, load_detector, train
    from ppcls_sspcab.config.load import load_config
    from ppcls_sspcab.result import Failure, Result
    from ppcls_sspcab.runtime.predictor import Predictor

# Read when ONNX Runtime is loaded, whose wheels from 1.29 on else send figures of its use.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "Failure",
    "Predictor",
    "Result",
    "UserError",
    "__version__",
    "evaluate",
    "export",
    "load_config",
    "load_detector",
    "train",
]

_MODULES = {
    "Failure": "result",
    "Predictor": "runtime.predictor",
    "Result": "result",
    "evaluate": "api",
    "export": "api",
    "load_config": "config.load",
    "load_detector": "api",
    "train": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
