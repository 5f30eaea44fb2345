"""pyproject.toml declares what the package imports, and no more."""

from __future__ import annotations

import sys
from pathlib import Path

from imports import MODULES, libraries, reached
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
PROJECT = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]

# Distributions whose modules have another name.
MODULES_OF = {
    "paddlepaddle": {"paddle"},
    "pillow": {"PIL"},
    "prometheus-client": {"prometheus_client"},
    "python-multipart": {"multipart"},
    "pyyaml": {"yaml"},
    "scikit-learn": {"sklearn"},
    # Of a PaddleClas checkout too, see docs/paddleclas.md.
    "paddleclas": {"paddleclas", "ppcls"},
}
# Needed by onnxruntime.quantization, which does not declare it; by Starlette for forms; taken by
# SQLAlchemy for a URL, and by uvicorn where it is there.
NOT_IMPORTED = {"ml_dtypes", "multipart", "psycopg", "uvloop", "httptools"}


def declared(requirements: list[str]) -> set[str]:
    """Names of modules that come with them."""
    names = {Requirement(text).name for text in requirements} - {"ppcls_sspcab"}
    return set().union(*(MODULES_OF.get(name, {name}) for name in names))


BARE = declared(PROJECT["dependencies"])
TRAIN = declared(EXTRAS["train"])
RUNTIMES = {"onnxruntime", "openvino", "paddle"}
# The runtime's threads are one for each physical core where it is there, else one for each logical.
USED_IF_THERE = {"psutil"}


def test_everything_imported_is_declared_and_everything_declared_is_imported():
    extras = set().union(*(declared(EXTRAS[name]) for name in EXTRAS if name != "test"))
    imported = libraries(set(MODULES))
    assert imported - BARE - extras == set()
    # PaddleClas's modules are imported by names that are put together.
    assert (BARE | extras) - imported - NOT_IMPORTED - MODULES_OF["paddleclas"] == set()


def test_a_bare_install_scores():
    modules = reached("ppcls_sspcab.runtime.command")
    assert libraries(modules) - RUNTIMES - USED_IF_THERE <= BARE
    rooms = {name.split(".")[1] for name in modules if name != "ppcls_sspcab"}
    assert rooms <= {"errors", "image", "paths", "result", "runtime", "utils"}


def test_the_service_needs_its_extra_and_a_runtime_alone():
    modules = reached("ppcls_sspcab.serving.command")
    assert libraries(modules) - RUNTIMES <= BARE | declared(EXTRAS["serve"])
    rooms = {name.split(".")[1] for name in modules if name != "ppcls_sspcab"}
    assert rooms <= {"errors", "image", "paths", "result", "runtime", "serving", "utils", "version"}


def test_without_extras_train_and_paddle_are_enough():
    optional = (
        declared([*EXTRAS["onnx"], *EXTRAS["openvino"], *EXTRAS["serve"], *EXTRAS["visualdl"]])
        | MODULES_OF["paddleclas"]
    )
    assert libraries(set(MODULES)) - optional <= BARE | TRAIN | {"paddle"}


def test_no_room_but_runtime_and_exporting_needs_onnx():
    with_onnx = {name for name in MODULES if libraries({name}) & declared(EXTRAS["onnx"])}
    assert {name.split(".")[1] for name in with_onnx} == {"exporting", "runtime"}
