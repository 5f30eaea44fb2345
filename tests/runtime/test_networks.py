"""What ONNX Runtime and OpenVINO do to a process beside running its model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

onnx = pytest.importorskip("onnx")

RELU = """
import sys
import numpy as np
from ppcls_sspcab.runtime.networks import OnnxNetwork, OpenVinoNetwork
networks = [OnnxNetwork(sys.argv[1]), OpenVinoNetwork(sys.argv[1], ["score"])]
for network in networks:
    print(network.run(np.full(1, -1, np.float32))["score"])
"""
END_IN_A_THREAD_AND_INTERRUPT = """
import gc, os, signal, threading
del network
thread = threading.Thread(target=lambda: (networks.clear(), gc.collect()))
thread.start()
thread.join()
signal.signal(signal.SIGINT, lambda number, frame: print("interrupted"))
os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.fixture
def relu(tmp_path: Path) -> Path:
    """A file of a model of one operator."""
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in ("images", "score")]
    node = helper.make_node("Relu", ["images"], ["score"])
    graph = helper.make_graph([node], "graph", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 17)]
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def test_runtimes_keep_and_send_nothing(relu: Path, tmp_path: Path) -> None:
    """Their wheels report to their makers and number the device, unless told not to."""
    home = tmp_path / "home"
    home.mkdir()
    # They are silent of themselves where these say that it is a test.
    tested = {"CI", "GITHUB_ACTIONS", "TF_BUILD", "PYTEST_CURRENT_TEST", "ORT_DISABLE_TELEMETRY"}
    environment = {name: value for name, value in os.environ.items() if name not in tested}
    ended = subprocess.run(
        [sys.executable, "-c", RELU, str(relu)],
        cwd=tmp_path,
        env={**environment, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")},
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.stdout == "[0.]\n[0.]\n", ended.stderr
    assert not list(home.rglob("*"))
    assert {one.name for one in tmp_path.iterdir()} == {"home", "model.onnx"}


@pytest.mark.skipif(sys.platform == "win32", reason="has no stack for signals")
def test_a_signal_after_openvino_ended_in_another_thread_is_no_crash(relu: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", RELU + END_IN_A_THREAD_AND_INTERRUPT, str(relu)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout) == (0, "[0.]\n[0.]\ninterrupted\n"), ended.stderr
