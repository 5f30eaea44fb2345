"""From Paddle's exported program to an ONNX model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ppcls_sspcab.errors import ModelError
from ppcls_sspcab.paths import ONNX_FILE, PADDLE_FILES
from ppcls_sspcab.utils.streams import quiet_stdout

OPSET = 17


def save_onnx(folder: Path, outputs: Sequence[str]) -> None:
    """Writes ``model.onnx`` of the Paddle program in a folder, its outputs named.

    Raises:
        ModelError: paddle2onnx cannot convert the program.
    """
    import onnx
    import paddle2onnx

    path = folder / ONNX_FILE
    try:
        with quiet_stdout():
            paddle2onnx.export(
                *(str(folder / name) for name in PADDLE_FILES),
                str(path),
                opset_version=OPSET,
                auto_upgrade_opset=False,
                # The default tool installs packages with pip, and a newer numpy with them.
                optimize_tool="None",
            )
    except Exception as error:  # it logs the cause and then stumbles over its own missing result
        raise ModelError(
            "paddle2onnx cannot convert this network; its own message stands above"
        ) from error
    model = onnx.load(path)
    _pad_with_zero(model.graph)
    _drop_unused_initializers(model.graph)
    _rename_outputs(model.graph, outputs)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _pad_with_zero(graph: Any) -> None:
    """Leaves out the value of each Pad, so that it is 0 as ONNX defines it.

    paddle2onnx 2.1.0 takes that value from uninitialised memory. A Pad that meant another value
    than 0 is found when the numbers are compared.
    """
    for node in _nodes(graph):
        if node.op_type == "Pad" and len(node.input) > 2:
            node.input[2] = ""


def _drop_unused_initializers(graph: Any) -> None:
    used = {name for node in _nodes(graph) for name in node.input}
    used |= {output.name for output in graph.output}
    kept = [item for item in graph.initializer if item.name in used]
    nodes = [item for item in graph.node if item.op_type != "Constant" or item.output[0] in used]
    for items, wanted in ((graph.initializer, kept), (graph.node, nodes)):
        if len(wanted) < len(items):
            del items[:]
            items.extend(wanted)


def _nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph and of all graphs within it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _rename_outputs(graph: Any, outputs: Sequence[str]) -> None:
    import onnx

    for output, name in zip(graph.output, outputs, strict=True):
        graph.node.append(onnx.helper.make_node("Identity", [output.name], [name], name=name))
        output.name = name
