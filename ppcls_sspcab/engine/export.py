"""From a Detector to one folder that Paddle Inference and ONNX Runtime run, verified by numbers."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.detector import DetectorCard
from ppcls_sspcab.engine.quantize import (
    Int8Settings,
    Prepare,
    check_quantizer,
    judged,
    quantize,
    summary,
)
from ppcls_sspcab.errors import ConfigError, ModelError, UserError, did_you_mean
from ppcls_sspcab.runtime.card import (
    CARD_FILE,
    INPUT_NAME,
    INT8_FILE,
    ONNX_FILE,
    PADDLE_FILES,
    InferenceCard,
)
from ppcls_sspcab.runtime.image import Preprocess
from ppcls_sspcab.runtime.predictor import OnnxPredictor, PaddlePredictor
from ppcls_sspcab.utils.files import sha256_of
from ppcls_sspcab.utils.folders import atomic_folder
from ppcls_sspcab.utils.logging import get_logger
from ppcls_sspcab.utils.modes import evaluation_mode
from ppcls_sspcab.utils.streams import stdout_to_stderr
from ppcls_sspcab.version import __version__

FORMATS = ("paddle", "onnx")
OPSET = 17
TOLERANCE = 1e-3

_FIRST_OUTPUTS = ("score", "normalized_score")

Run = Callable[[np.ndarray], dict[str, np.ndarray]]


def export_detector(
    detector: nn.Layer,
    card: DetectorCard,
    folder: str | os.PathLike[str],
    formats: Sequence[str] = ("paddle",),
    input_type: Literal["float32", "uint8"] = "float32",
    verify_images: np.ndarray | None = None,
    int8: Int8Settings | None = None,
) -> Path:
    """Writes the whole detector, scoring included, for the runtimes that ``formats`` names.

    The folder holds ``inference.json`` and ``inference.pdiparams`` (Paddle Inference; always),
    ``model.onnx`` (opset 17), both for any batch size, ``model_int8.onnx`` if asked for, and
    ``inference.yml`` (:class:`~ppcls_sspcab.runtime.card.InferenceCard`). Every runtime's numbers
    are compared with the detector's own before the folder gets its name.

    Args:
        detector: ``forward(images float32 [N, 3, h, w])`` gives a dict with ``score`` [N] among
            its entries; buffers ``threshold`` and ``scale``; perhaps ``pictures_at_once``.
        card: what the detector was made from.
        folder: replaced as a whole; must be absent, empty or an earlier export.
        formats: of ``paddle`` and ``onnx``.
        input_type: ``float32`` normalised [N, 3, h, w], or ``uint8`` RGB [N, h, w, 3], which the
            graph normalises itself.
        verify_images: pictures to compare on, uint8 [N, h, w, 3] at network size; default noise.
        int8: given, the ONNX model is also quantised, and what that changes is measured.

    Returns:
        the folder.

    Raises:
        ConfigError: an unknown format, or ``int8`` without the format ``onnx``.
        ModelError: a detector without threshold, a runtime whose scores differ by more than 1e-3
            relative or are no numbers, INT8 that loses more than allowed, or a folder that holds
            something else.
        UserError: the packages for ONNX are not installed.
    """
    target = Path(folder)
    _check_formats(formats, int8 is not None)
    _check_target(target)
    threshold, scale = float(detector.threshold), float(detector.scale)
    if not np.isfinite(threshold):
        raise ModelError("the detector has no threshold yet: calibrate it before the export")
    pixels = _noise(card.preprocess) if verify_images is None else verify_images
    prepare = _unchanged if input_type == "uint8" else card.preprocess.normalize
    with evaluation_mode(detector), atomic_folder(target) as temporary:
        expected = _eager(detector, card.preprocess.normalize(pixels))
        outputs = [*_FIRST_OUTPUTS, *sorted(set(expected) - set(_FIRST_OUTPUTS))]
        graph = _Graph(detector, outputs, card.preprocess if input_type == "uint8" else None)
        _save_paddle(graph, card.preprocess, temporary)
        if "onnx" in formats:
            _save_onnx(temporary, outputs)
        verification = _verify(temporary, outputs, formats, prepare(pixels), expected, scale)
        if int8 is not None:
            verification["int8"] = _save_int8(temporary, int8, threshold, prepare)
        InferenceCard(
            category=card.category,
            input_type=input_type,
            preprocess=card.preprocess,
            outputs=outputs,
            threshold=threshold,
            scale=scale,
            pictures_at_once=getattr(detector, "pictures_at_once", 0),
            in_graph={"threshold": threshold, "scale": scale},
            files={file.name: sha256_of(file) for file in sorted(temporary.iterdir())},
            versions=_versions(formats),
            verification=verification,
            detector=card.to_dict(),
        ).write(temporary)
    return target


class _Graph(nn.Layer):
    """The detector with its outputs in a fixed order, since exported graphs keep no names.

    Args:
        preprocess: given, the input is uint8 [N, h, w, 3], and the graph normalises it.
    """

    def __init__(
        self, detector: nn.Layer, outputs: Sequence[str], preprocess: Preprocess | None
    ) -> None:
        super().__init__()
        self.detector = detector
        self.outputs = list(outputs)
        self.takes_pixels = preprocess is not None
        if preprocess is not None:
            mean, std = np.array(preprocess.mean), np.array(preprocess.std)
            for name, values in (("factor", 1 / (255 * std)), ("shift", mean / std)):
                array = values.astype(np.float32).reshape(1, 3, 1, 1)
                self.register_buffer(name, paddle.to_tensor(array))

    def forward(self, images: paddle.Tensor) -> tuple[paddle.Tensor, ...]:
        if self.takes_pixels:
            images = images.transpose([0, 3, 1, 2]).astype("float32") * self.factor - self.shift
        found = self.detector(images)
        return tuple(found[name] for name in self.outputs)


def _save_paddle(graph: _Graph, preprocess: Preprocess, folder: Path) -> None:
    height, width = preprocess.image_size
    pixels = graph.takes_pixels
    spec = paddle.static.InputSpec(
        [None, height, width, 3] if pixels else [None, 3, height, width],
        "uint8" if pixels else "float32",
        INPUT_NAME,
    )
    graph.eval()
    static = paddle.jit.to_static(graph, input_spec=[spec], full_graph=True)
    paddle.jit.save(static, str(folder / "inference"))


def _save_onnx(folder: Path, outputs: Sequence[str]) -> None:
    import onnx
    import paddle2onnx

    path = folder / ONNX_FILE
    try:
        with stdout_to_stderr():
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


def _save_int8(
    folder: Path, settings: Int8Settings, threshold: float, prepare: Prepare
) -> dict[str, Any]:
    quantize(folder / ONNX_FILE, folder / INT8_FILE, settings.good, prepare)
    report = judged(folder / ONNX_FILE, folder / INT8_FILE, settings, threshold, prepare)
    get_logger().info(summary(report))
    return report


def _unchanged(pixels: np.ndarray) -> np.ndarray:
    return pixels


def _pad_with_zero(graph: Any) -> None:
    """Leaves out the value of each Pad, so that it is 0 as ONNX defines it.

    paddle2onnx 2.1.0 takes that value from uninitialised memory. A Pad that meant another value
    than 0 is found when the numbers are compared.
    """
    for node in graph.node:
        if node.op_type == "Pad" and len(node.input) > 2:
            node.input[2] = ""
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _pad_with_zero(inner)


def _drop_unused_initializers(graph: Any) -> None:
    used = set(_inputs(graph)) | {output.name for output in graph.output}
    kept = [item for item in graph.initializer if item.name in used]
    nodes = [item for item in graph.node if item.op_type != "Constant" or item.output[0] in used]
    for items, wanted in ((graph.initializer, kept), (graph.node, nodes)):
        if len(wanted) < len(items):
            del items[:]
            items.extend(wanted)


def _inputs(graph: Any) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _inputs(inner)


def _rename_outputs(graph: Any, outputs: Sequence[str]) -> None:
    import onnx

    for output, name in zip(graph.output, outputs, strict=True):
        graph.node.append(onnx.helper.make_node("Identity", [output.name], [name], name=name))
        output.name = name


def _verify(
    folder: Path,
    outputs: Sequence[str],
    formats: Sequence[str],
    images: np.ndarray,
    expected: dict[str, np.ndarray],
    scale: float,
) -> dict[str, Any]:
    """What ``inference.yml`` says of the comparison; see :func:`_compare` for what it raises."""
    differences = {}
    for name, run in _runtimes(folder, outputs, formats):
        differences[name] = _compare(name, run, images, expected, scale)
        get_logger().info(f"{name}: worst relative difference of the score {differences[name]:.1e}")
    return {"pictures": len(images), "worst_relative_difference": differences}


def _runtimes(
    folder: Path, outputs: Sequence[str], formats: Sequence[str]
) -> Iterator[tuple[str, Run]]:
    yield "paddle_onednn", PaddlePredictor(folder, outputs, onednn=True).run
    yield "paddle", PaddlePredictor(folder, outputs, onednn=False).run
    if "onnx" in formats:
        yield "onnxruntime", OnnxPredictor(folder / ONNX_FILE).run


def _compare(
    runtime: str, run: Run, images: np.ndarray, expected: dict[str, np.ndarray], scale: float
) -> float:
    """Worst relative difference of the score, with the pictures in one batch and one by one.

    Relative to the score, or to ``scale`` where the score is smaller: a log density may be 0.

    Raises:
        ModelError: an output of another shape, not finite, or too different.
    """
    single = [run(images[index : index + 1]) for index in range(len(images))]
    joined = {name: np.concatenate([part[name] for part in single]) for name in single[0]}
    worst = 0.0
    for found in (run(images), joined):
        for name, values in expected.items():
            if found[name].shape != values.shape or not np.isfinite(found[name]).all():
                raise ModelError(
                    f"{runtime}: output {name!r} has shape {found[name].shape} (expected "
                    f"{values.shape}) or values that are no numbers; nothing was exported"
                )
        # The normalised score is a function of the score, with a slope that has no bound.
        for name in set(expected) - {"score", "normalized_score"}:
            _require_close(runtime, name, _distance(found[name], expected[name]))
        score, reference = found["score"].astype(np.float64), expected["score"].astype(np.float64)
        relative = np.abs(score - reference) / np.maximum(np.abs(reference), scale)
        worst = max(worst, float(relative.max()))
    _require_close(runtime, "score", worst)
    return worst


def _distance(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference, relative to the largest value."""
    largest = float(np.abs(expected).max())
    return float(np.abs(found - expected).max()) / max(largest, 1e-12)


def _require_close(runtime: str, output: str, difference: float) -> None:
    if not difference <= TOLERANCE:
        raise ModelError(
            f"{runtime}: {output} differs from the detector's by {difference:.1e} (relative), "
            f"more than {TOLERANCE:g}; nothing was exported"
        )


@paddle.no_grad()
def _eager(detector: nn.Layer, images: np.ndarray) -> dict[str, np.ndarray]:
    found = {name: value.numpy() for name, value in detector(paddle.to_tensor(images)).items()}
    for name, values in found.items():
        if not np.isfinite(values).all():
            raise ModelError(f"the detector's own {name} is no number; is its density fitted?")
    return found


def _noise(preprocess: Preprocess) -> np.ndarray:
    height, width = preprocess.image_size
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, -(-height // 8), -(-width // 8), 3), np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]


def _check_formats(formats: Sequence[str], int8: bool) -> None:
    for name in formats:
        if name not in FORMATS:
            raise ConfigError("--format", f"unknown format {name!r}{did_you_mean(name, FORMATS)}")
    if "onnx" in formats:
        for package in ("onnx", "paddle2onnx", "onnxruntime"):
            try:
                importlib.import_module(package)
            except ImportError as error:
                raise UserError(
                    f"the format onnx needs {package}: pip install 'ppcls_sspcab[onnx]'"
                ) from error
    if int8:
        if "onnx" not in formats:
            raise ConfigError("--int8", "is for ONNX Runtime: add onnx to --format")
        check_quantizer()


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise ModelError(f"{target}: is a file; the export writes a folder")
    if target.is_dir() and any(target.iterdir()) and not (target / CARD_FILE).is_file():
        raise ModelError(
            f"{target}: holds other files, and the export replaces the whole folder; give another"
        )


def _versions(formats: Sequence[str]) -> dict[str, str]:
    versions = {"ppcls_sspcab": __version__, "paddle": paddle.__version__}
    for package in ("paddle2onnx", "onnxruntime") if "onnx" in formats else ():
        versions[package] = importlib.metadata.version(package)
    return versions
