"""ONNX Runtime's wheels report to their maker and number the device, unless told not to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

onnx = pytest.importorskip("onnx")

RUN = """
import sys
import numpy as np
import ppcls_sspcab
from ppcls_sspcab.runtime.networks import OnnxNetwork
print(OnnxNetwork(sys.argv[1]).run(np.full(1, -1, np.float32))["score"])
"""


def test_onnx_runtime_keeps_and_sends_nothing(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in ("images", "score")]
    node = helper.make_node("Relu", ["images"], ["score"])
    graph = helper.make_graph([node], "graph", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 17)]
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    home = tmp_path / "home"
    home.mkdir()
    # ONNX Runtime is silent of itself where these say that it is tested.
    tested = {"CI", "GITHUB_ACTIONS", "TF_BUILD", "PYTEST_CURRENT_TEST", "ORT_DISABLE_TELEMETRY"}
    environment = {name: value for name, value in os.environ.items() if name not in tested}
    ended = subprocess.run(
        [sys.executable, "-c", RUN, str(path)],
        cwd=tmp_path,
        env={**environment, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")},
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.stdout == "[0.]\n", ended.stderr
    assert not list(home.rglob("*"))
    assert {one.name for one in tmp_path.iterdir()} == {"home", "model.onnx"}
