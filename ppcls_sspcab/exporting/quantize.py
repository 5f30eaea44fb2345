"""INT8 models for ONNX Runtime, and the AUROC and false alarms that they cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.data.build import GoodPictures
from ppcls_sspcab.data.split import evenly_spread
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.data.synthetic import MAX_SPOILT, synthetic_validation
from ppcls_sspcab.detector.threshold.calibration import Calibration
from ppcls_sspcab.errors import ModelError
from ppcls_sspcab.fitting.fit import StoreScores, calibration_of
from ppcls_sspcab.image.batches import batches
from ppcls_sspcab.metric.image import image_auroc
from ppcls_sspcab.runtime.card import INPUT_NAME
from ppcls_sspcab.runtime.networks import OnnxNetwork
from ppcls_sspcab.runtime.onnx_model import folded

# Points of AUROC on synthetic defects, most of which are faint; on plain ones hardly any is lost.
MAX_DROP = 1.0

_BATCH = 8
RANGE_PICTURES = 64
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
        calibrate: finds the threshold of the INT8 scores, by a function that gives those of a
            store's pictures. Where it returns None, the float threshold is taken to their scale.
    """

    good: np.ndarray
    held_out: np.ndarray
    max_drop: float = MAX_DROP
    seed: int = 0
    calibrate: Callable[[StoreScores], Calibration | None] = lambda score: None


def int8_settings(
    config: Config, pictures: GoodPictures, fitted: Calibration, max_drop: float
) -> Int8Settings:
    """The settings by the good pictures of a configuration.

    Args:
        pictures: as the detector was fitted to and calibrated on them. Where none are held out
            (``calibrate_on: k_fold``), those to train on also measure what changes.
        fitted: calibration of the detector.
    """
    good, held_out = (
        np.stack([store[index] for index in evenly_spread(len(store), most)])
        for store, most in (
            (pictures.train, RANGE_PICTURES),
            (pictures.held_out or pictures.train, MAX_SPOILT),
        )
    )

    def calibrate(score: StoreScores) -> Calibration | None:
        return calibration_of(score, config, pictures, fitted)

    return Int8Settings(good, held_out, max_drop, config.Global.seed, calibrate)


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
    float_model: Path,
    int8_model: Path,
    settings: Int8Settings,
    decision: Calibration,
    prepare: Prepare,
) -> tuple[dict[str, Any], Calibration]:
    """Calibrates the INT8 model, and compares both on held-out pictures and synthetic defects.

    Args:
        decision: threshold and scale of the float scores.

    Returns:
        plain values: ``pictures``, ``max_drop``, and for ``fp32`` and ``int8`` the
        ``synthetic_auroc`` and the ``false_alarm_rate``, each at its own threshold, both in 0..1;
        where too much is lost, also ``refused``, a sentence. And the threshold of INT8.

    Raises:
        ModelError: scores that are no numbers.
    """
    images, labels, _, _ = synthetic_validation(settings.held_out, settings.seed)
    count = len(settings.held_out)
    report: dict[str, Any] = {
        "pictures": {"ranges": min(len(settings.good), RANGE_PICTURES), "held_out": count},
        "max_drop": settings.max_drop,
    }
    scores = {
        "fp32": _scores(float_model, _batches(images, prepare)),
        "int8": _scores(int8_model, _batches(images, prepare)),
    }
    own = settings.calibrate(lambda store: _scores(int8_model, _batches(store, prepare)))
    own = own or transferred(decision, scores["fp32"], scores["int8"])
    for name, threshold in (("fp32", decision.threshold), ("int8", own.threshold)):
        report[name] = {
            "synthetic_auroc": float(image_auroc(labels, scores[name])),
            "false_alarm_rate": float((scores[name][:count] > threshold).mean()),
        }
    if _loses_too_much(report):
        report["refused"] = f"{summary(report)}: beyond --max-drop {settings.max_drop:g} points"
    return report, own


def transferred(decision: Calibration, scores: np.ndarray, others: np.ndarray) -> Calibration:
    """A threshold and scale taken to other scores of the same pictures, by least squares.

    Args:
        decision: of ``scores``, float [N].
        others: float [N].
    """
    slope, offset = np.polyfit(scores.astype(np.float64), others.astype(np.float64), 1).tolist()
    return Calibration(
        threshold=slope * decision.threshold + offset,
        scale=max(abs(slope), 1e-6) * decision.scale,
        method=decision.method,
        note="the float32 threshold, taken to these scores by least squares",
    )


def _scores(model: Path, batches: Iterator[np.ndarray]) -> np.ndarray:
    run = OnnxNetwork(model).run
    scores = np.concatenate([run(batch)["score"] for batch in batches])
    if not np.isfinite(scores).all():
        raise ModelError(f"{model.name}: gives scores that are no numbers; nothing was exported")
    return scores


def summary(report: dict[str, Any]) -> str:
    """What :func:`int8_report` returned, in one line."""
    before, after = report["fp32"], report["int8"]
    return (
        f"int8: AUROC on synthetic defects {100 * after['synthetic_auroc']:.2f} (fp32 "
        f"{100 * before['synthetic_auroc']:.2f}), false-alarm rate "
        f"{100 * after['false_alarm_rate']:.2f} % (fp32 {100 * before['false_alarm_rate']:.2f} %), "
        f"on {report['pictures']['held_out']} held-out good pictures"
    )


def _loses_too_much(report: dict[str, Any]) -> bool:
    before, after, most = report["fp32"], report["int8"], report["max_drop"]
    drop = 100 * (before["synthetic_auroc"] - after["synthetic_auroc"])
    rise = 100 * (after["false_alarm_rate"] - before["false_alarm_rate"])
    return drop > most or rise > max(most, 100 / report["pictures"]["held_out"]) + 1e-9


def _is_map(value: Any) -> bool:
    """Whether it is [N, C, h, w] of more than one place."""
    sizes = value.type.tensor_type.shape.dim
    return len(sizes) == 4 and (sizes[2].dim_value, sizes[3].dim_value) != (1, 1)


def _batches(pictures: np.ndarray | ImageStore, prepare: Prepare) -> Iterator[np.ndarray]:
    for numbers in batches(range(len(pictures)), _BATCH):
        yield prepare(np.stack([pictures[number] for number in numbers]))


class _Reader:
    """The input of ``quantize_static``, which calls ``get_next`` until it returns None."""

    def __init__(self, batches: Iterator[np.ndarray]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT_NAME: batch}
