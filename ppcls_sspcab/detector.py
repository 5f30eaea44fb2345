"""The Detector: network, density and threshold in one layer with one forward."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.density.base import Density
from ppcls_sspcab.density.threshold import Calibration
from ppcls_sspcab.errors import ModelError, UserError
from ppcls_sspcab.registry import ARCHITECTURES, DENSITIES
from ppcls_sspcab.runtime.image import Preprocess
from ppcls_sspcab.utils.files import atomic_write
from ppcls_sspcab.utils.weights import load_into, read_metadata, read_weights, write_safetensors
from ppcls_sspcab.version import __version__

FORMAT = 1


@dataclasses.dataclass
class DetectorCard:
    """What travels beside the weights, so that a detector can be rebuilt and rightly fed.

    Attributes:
        arch: section ``Arch`` of the configuration.
        density: section ``Density``.
        preprocess: the preprocessing contract.
        category: the product the detector was made for.
        calibration: how the threshold was found.
        protocol: seed, steps, selection and the like, as they go into the results.
    """

    arch: dict[str, Any]
    density: dict[str, Any]
    preprocess: Preprocess
    category: str
    calibration: Calibration | None = None
    protocol: dict[str, Any] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "format": FORMAT,
            "ppcls_sspcab": __version__,
            "paddle": paddle.__version__,
            "category": self.category,
            "preprocess": self.preprocess.to_dict(),
            "calibration": dataclasses.asdict(self.calibration) if self.calibration else None,
            "arch": self.arch,
            "density": self.density,
            "protocol": self.protocol,
        }

    @classmethod
    def from_json(cls, text: str, path: str | os.PathLike[str]) -> DetectorCard:
        """The reverse of :meth:`to_dict`, from JSON.

        Raises:
            ModelError: a card of another format, or one that lacks something.
        """
        try:
            card = json.loads(text)
            if card["format"] != FORMAT:
                raise ModelError(f"{path}: format {card['format']!r}; this version reads {FORMAT}")
            calibration = card["calibration"]
            return cls(
                arch=dict(card["arch"]),
                density=dict(card["density"]),
                preprocess=Preprocess.from_dict(card["preprocess"]),
                category=str(card["category"]),
                calibration=Calibration(**calibration) if calibration else None,
                protocol=dict(card["protocol"]),
            )
        except (KeyError, TypeError, ValueError, UserError) as error:
            raise ModelError(f"{path}: damaged description: {error}") from error


class Detector(nn.Layer):
    """Scores pictures: evaluation, prediction and export all run this forward.

    Args:
        network: gives the embedding, by ``embed(images) -> [N, D]``.
        density: scores the embedding.

    Buffers: ``threshold`` and ``scale``, float32 scalars.
    """

    def __init__(self, network: nn.Layer, density: Density) -> None:
        super().__init__()
        self.network = network
        self.density = density
        self.register_buffer("threshold", paddle.full([], float("nan")))
        self.register_buffer("scale", paddle.ones([]))
        self._embed: Callable[[paddle.Tensor], paddle.Tensor] = network.embed

    def forward(self, images: paddle.Tensor) -> dict[str, paddle.Tensor]:
        """Scores normalised pictures.

        Args:
            images: float32 [N, 3, H, W], RGB, normalised by the preprocessing contract.

        Returns:
            ``score`` float32 [N], larger is worse; ``normalized_score`` float32 [N] in (0, 1),
            above 0.5 where the score is above the threshold; ``embedding`` float32 [N, D].
        """
        return self.score(self._embed(images))

    def score(self, embedding: paddle.Tensor) -> dict[str, paddle.Tensor]:
        """The part of :meth:`forward` behind the network; embedding: float32 [N, D]."""
        score = self.density(embedding)
        deviation = (score - self.threshold) / self.scale
        normalized_score = 0.5 + 0.5 * deviation / (1.0 + deviation.abs())
        return {"score": score, "normalized_score": normalized_score, "embedding": embedding}

    def calibrate(self, calibration: Calibration) -> None:
        """Sets the threshold and the scale of the normalised score."""
        self.threshold.set_value(np.asarray(calibration.threshold, np.float32))
        self.scale.set_value(np.asarray(calibration.scale, np.float32))

    @contextmanager
    def embedding_by(self, embed: Callable[[paddle.Tensor], paddle.Tensor]) -> Iterator[None]:
        """While the block runs, :meth:`forward` has its network run by ``embed``, an equal one."""
        self._embed = embed
        try:
            yield
        finally:
            self._embed = self.network.embed

    def save(self, path: str | os.PathLike[str], card: DetectorCard) -> None:
        """Writes ``path`` (safetensors, the card in its header) and a readable ``.json`` beside.

        The safetensors file is complete by itself; the JSON is a copy of the card for people.
        """
        arrays = {
            f"network.{name}": value.numpy() for name, value in self.network.state_dict().items()
        }
        arrays |= {f"density.{name}": value for name, value in self.density.arrays().items()}
        arrays |= {"threshold": self.threshold.numpy(), "scale": self.scale.numpy()}
        text = json.dumps(card.to_dict(), indent=2, ensure_ascii=False)
        write_safetensors(path, arrays, {"detector": text})
        atomic_write(Path(path).with_suffix(".json"), text + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> tuple[Detector, DetectorCard]:
        """Reads what :meth:`save` wrote; the detector comes in evaluation mode.

        Raises:
            ModelError: a missing, damaged or foreign file.
        """
        if not Path(path).is_file():
            raise ModelError(f"{path}: no such file; 'train' writes it")
        text = read_metadata(path).get("detector")
        if text is None:
            raise ModelError(f"{path}: holds weights but no detector; give a detector.safetensors")
        card = DetectorCard.from_json(text, path)
        arrays = read_weights(path)
        for name in ("threshold", "scale"):
            if name not in arrays or arrays[name].shape != ():
                raise ModelError(f"{path}: the array {name!r} is missing or damaged")
        network = ARCHITECTURES.build({**card.arch, "pretrained": False}, "Arch")
        _load_exactly(network, arrays, "network.", path)
        density = DENSITIES.build(card.density, "Density", embedding_size=network.embedding_size)
        density.load_arrays(_part(arrays, "density."))
        detector = cls(network, density)
        detector.threshold.set_value(arrays["threshold"])
        detector.scale.set_value(arrays["scale"])
        detector.eval()
        return detector, card


def _part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name[len(prefix) :]: value for name, value in arrays.items() if name.startswith(prefix)}


def _load_exactly(
    layer: nn.Layer,
    arrays: dict[str, np.ndarray],
    prefix: str,
    path: str | os.PathLike[str],
) -> None:
    report = load_into(layer, _part(arrays, prefix), str(path))
    if report.missing or report.unexpected:
        raise ModelError(f"{path}: does not fit its own description: {report.summary()}")
