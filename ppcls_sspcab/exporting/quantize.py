"""INT8 models for ONNX Runtime, and the AUROC and false alarms that they cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.data.build import build_dataset
from ppcls_sspcab.data.split import evenly_spread, held_out_share, split_good
from ppcls_sspcab.data.synthetic import MAX_SPOILT, synthetic_validation
from ppcls_sspcab.errors import ModelError
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.metric.image import image_auroc
from ppcls_sspcab.runtime.card import INPUT_NAME
from ppcls_sspcab.runtime.networks import OnnxNetwork
from ppcls_sspcab.runtime.onnx_model import folded

# Points of AUROC on synthetic defects, most of which are faint; on plain ones hardly any is lost.
MAX_DROP = 1.0

_BATCH = 8
RANGE_PICTURES = 64
_HELD_OUT_SHARE = 0.2
# An operator left in float between two of these would slow the model down: ONNX Runtime reorders
# maps from channels last, as int8 has them, to channels first and back.
_KINDS = ("Conv", "Relu", "Clip", "Add", "MaxPool", "AveragePool")

Prepare = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Int8Settings:
    """Good pictures to quantise with, and the loss of AUROC that is allowed.

    Attributes:
        good: give the ranges of the activations; uint8 [N, h, w, 3] at network size, N >= 1.
        held_out: the false-alarm rate and, with synthetic defects made from them, the AUROC are
            compared on these; uint8 [M, h, w, 3], M >= 1.
        max_drop: points (hundredths) that the AUROC may lose. The false-alarm rate may rise by as
            much, or by one picture, where so few cannot tell less.
        seed: of the synthetic defects.
    """

    good: np.ndarray
    held_out: np.ndarray
    max_drop: float = MAX_DROP
    seed: int = 0


def int8_settings(config: Config, preprocess: Preprocess, max_drop: float) -> Int8Settings:
    """The settings by the good pictures of a configuration.

    Where none are held out (``calibrate_on: k_fold``), a fifth is set apart: the network was
    trained on them, but the change of the false-alarm rate can still be measured.
    """
    share = held_out_share(config) or _HELD_OUT_SHARE
    split = split_good(build_dataset(config).train, share, config.Global.seed)
    good, held_out = (
        np.stack(
            [preprocess.load(samples[index].path) for index in evenly_spread(len(samples), most)]
        )
        for samples, most in ((split.train, RANGE_PICTURES), (split.held_out, MAX_SPOILT))
    )
    return Int8Settings(good, held_out, max_drop, config.Global.seed)


def quantize(source: Path, target: Path, good: np.ndarray, prepare: Prepare) -> None:
    """Writes an INT8 model: static, QDQ, weights per channel, activations by least and greatest.

    Convolutions that lead to the embedding are quantised, with what lies between them. The rest
    stays in float: what follows the embedding or makes the anomaly map, where differences of a
    thousandth decide, and the squeeze-and-excitation, which has few multiply-adds.

    Args:
        source: float ONNX model that ``export`` wrote, with an output ``embedding``.
        good: pictures, uint8 [N, h, w, 3]; at most 64 of them are run, evenly spread.
        prepare: makes the graph's input of pictures.

    Raises:
        ModelError: the model has no convolution to quantise.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    chosen = good[evenly_spread(len(good), RANGE_PICTURES)]
    model = folded(source)
    add_pre_process_metadata(model)
    quantize_static(
        model,
        target,
        _Reader(_batches(chosen, prepare)),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        # Seven bits: on CPUs without VNNI the sum of two products of eight overflows 16 bits.
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_quantize=network_nodes(model),
    )


def network_nodes(model: Any) -> list[str]:
    """Names of the nodes to quantise, see :func:`quantize`.

    Args:
        model: ONNX model without batch norms, its constants folded.

    Raises:
        ModelError: there is no convolution among them.
    """
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(model).graph
    constants = {item.name for item in graph.initializer}
    maps = {item.name for item in graph.value_info if _is_map(item)}
    needed, chosen = {"embedding"}, []
    for node in reversed(graph.node):
        if needed.isdisjoint(node.output):
            continue
        needed.update(node.input)
        adds_constant = node.op_type == "Add" and not constants.isdisjoint(node.input)
        if node.op_type in _KINDS and node.output[0] in maps and not adds_constant:
            chosen.append(node)
    if not any(node.op_type == "Conv" for node in chosen):
        raise ModelError("--int8: this network has no convolution that could be quantised")
    return [node.name for node in reversed(chosen)]


def int8_report(
    float_model: Path, int8_model: Path, settings: Int8Settings, threshold: float, prepare: Prepare
) -> dict[str, Any]:
    """Compares both models on held-out good pictures and synthetic defects made from them.

    Returns:
        plain values: ``pictures``, ``max_drop``, and for ``fp32`` and ``int8`` the
        ``synthetic_auroc`` and the ``false_alarm_rate`` at the threshold, both in 0..1.

    Raises:
        ModelError: scores that are no numbers, or a loss beyond ``settings.max_drop``.
    """
    images, labels, _, _ = synthetic_validation(settings.held_out, settings.seed)
    count = len(settings.held_out)
    report: dict[str, Any] = {
        "pictures": {"ranges": min(len(settings.good), RANGE_PICTURES), "held_out": count},
        "max_drop": settings.max_drop,
    }
    for name, path in (("fp32", float_model), ("int8", int8_model)):
        run = OnnxNetwork(path).run
        scores = np.concatenate([run(batch)["score"] for batch in _batches(images, prepare)])
        if not np.isfinite(scores).all():
            raise ModelError(f"{path.name}: gives scores that are no numbers; nothing was exported")
        report[name] = {
            "synthetic_auroc": float(image_auroc(labels, scores)),
            "false_alarm_rate": float((scores[:count] > threshold).mean()),
        }
    _require_kept(report, settings.max_drop, count)
    return report


def summary(report: dict[str, Any]) -> str:
    """What :func:`int8_report` returned, in one line."""
    before, after = report["fp32"], report["int8"]
    return (
        f"int8: AUROC on synthetic defects {100 * after['synthetic_auroc']:.2f} (fp32 "
        f"{100 * before['synthetic_auroc']:.2f}), false-alarm rate "
        f"{100 * after['false_alarm_rate']:.2f} % (fp32 {100 * before['false_alarm_rate']:.2f} %), "
        f"on {report['pictures']['held_out']} held-out good pictures"
    )


def _require_kept(report: dict[str, Any], max_drop: float, count: int) -> None:
    before, after = report["fp32"], report["int8"]
    drop = 100 * (before["synthetic_auroc"] - after["synthetic_auroc"])
    rise = 100 * (after["false_alarm_rate"] - before["false_alarm_rate"])
    if drop > max_drop or rise > max(max_drop, 100 / count) + 1e-9:
        raise ModelError(
            f"{summary(report)}: beyond --max-drop {max_drop:g} points; nothing was exported. "
            "Export without --int8, or allow more"
        )


def _is_map(value: Any) -> bool:
    """Whether it is [N, C, h, w] of more than one place."""
    sizes = value.type.tensor_type.shape.dim
    return len(sizes) == 4 and (sizes[2].dim_value, sizes[3].dim_value) != (1, 1)


def _batches(pictures: np.ndarray, prepare: Prepare) -> Iterator[np.ndarray]:
    for start in range(0, len(pictures), _BATCH):
        yield prepare(pictures[start : start + _BATCH])


class _Reader:
    """The input of ``quantize_static``, which calls ``get_next`` until it returns None."""

    def __init__(self, batches: Iterator[np.ndarray]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT_NAME: batch}
