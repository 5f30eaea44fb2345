"""Looking into an ONNX model; needs the packages ``onnx`` and ``onnxruntime``, not Paddle."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_sspcab.runtime.networks import read_onnx


def folded(source: Path) -> Any:
    """The model with batch norms inside convolutions, and constants computed.

    Raises:
        ModelError: as :func:`ppcls_sspcab.runtime.networks.read_onnx`.
    """
    import onnx
    import onnxruntime

    content = read_onnx(source)
    with tempfile.TemporaryDirectory(prefix="ppcls_sspcab_") as folder:
        path = Path(folder) / "folded.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return onnx.load(path)


def multiply_adds(source: Path) -> int:
    """Multiply-adds of one picture in the model's convolutions and matrix products."""
    import onnx

    model = folded(source)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    # What was noted of shapes holds a free batch size.
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {item.name: list(item.dims) for item in graph.initializer}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        shapes[value.name] = [size.dim_value for size in value.type.tensor_type.shape.dim]
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            total += int(np.prod(shapes[node.output[0]]) * np.prod(shapes[node.input[1]][1:]))
        elif node.op_type in ("MatMul", "Gemm"):
            total += int(np.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1])
    return total
