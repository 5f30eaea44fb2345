"""The Detector: network, image score, anomaly map and thresholds in one layer, one forward."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.arch.features import FeatureReader
from ppcls_sspcab.arch.tiles import Tiling
from ppcls_sspcab.density.threshold import Calibration
from ppcls_sspcab.errors import ConfigError, ModelError, UserError
from ppcls_sspcab.localize.base import Localizer
from ppcls_sspcab.registry import ARCHITECTURES, DENSITIES, IMAGE_SCORES, LOCALIZERS
from ppcls_sspcab.runtime.image import Preprocess
from ppcls_sspcab.scoring.base import ImageScore
from ppcls_sspcab.utils.files import atomic_write
from ppcls_sspcab.utils.fitted import fitted_arrays, load_fitted_arrays
from ppcls_sspcab.utils.weights import load_into, read_metadata, read_weights, write_safetensors
from ppcls_sspcab.version import __version__

FORMAT = 3
DEFAULT_SCORE = {"name": "embedding"}

# Pixels that run through the network at once: 64 pictures of 256 x 256.
MAX_INPUT_PIXELS = 1 << 22

Features = dict[str, paddle.Tensor]


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
        score: section ``Score``.
        localize: section ``Localize``; None for a detector without maps.
        tiling: section ``Tiling``; None for a detector that sees pictures as a whole.
        pixel_calibration: how the pixel threshold was found.
    """

    arch: dict[str, Any]
    density: dict[str, Any]
    preprocess: Preprocess
    category: str
    calibration: Calibration | None = None
    protocol: dict[str, Any] = dataclasses.field(default_factory=dict)
    score: dict[str, Any] = dataclasses.field(default_factory=lambda: dict(DEFAULT_SCORE))
    localize: dict[str, Any] | None = None
    tiling: dict[str, Any] | None = None
    pixel_calibration: Calibration | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "format": FORMAT,
            "ppcls_sspcab": __version__,
            "paddle": paddle.__version__,
            "category": self.category,
            "preprocess": self.preprocess.to_dict(),
            "calibration": _plain(self.calibration),
            "pixel_calibration": _plain(self.pixel_calibration),
            "arch": self.arch,
            "density": self.density,
            "score": self.score,
            "localize": self.localize,
            "tiling": self.tiling,
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
            return cls(
                arch=dict(card["arch"]),
                density=dict(card["density"]),
                preprocess=Preprocess.from_dict(card["preprocess"]),
                category=str(card["category"]),
                calibration=_calibration(card["calibration"]),
                protocol=dict(card["protocol"]),
                score=dict(card["score"]),
                localize=card["localize"],
                tiling=card["tiling"],
                pixel_calibration=_calibration(card["pixel_calibration"]),
            )
        except (KeyError, TypeError, ValueError, RecursionError, UserError) as error:
            raise ModelError(f"{path}: damaged description: {error}") from error


class Detector(nn.Layer):
    """Scores pictures: evaluation, prediction and export all run this forward.

    Args:
        network: gives the embedding, by ``embed(images) -> [N, D]``, and whatever else the image
            score and the localizer need, see :class:`ppcls_sspcab.arch.features.FeatureReader`.
        image_size: (H, W) of the pictures.
        image_score: makes one number a picture.
        localizer: makes the anomaly map; None for a detector without maps.
        tiling: given, the network, the score and the localizer see tiles: each part of a picture's
            score is the largest of its tiles', and its map is theirs joined.

    Attributes:
        pictures_at_once: how many may run through the network together in reasonable memory.

    Buffers: ``threshold`` and ``scale``, with a localizer also ``pixel_threshold`` and
    ``pixel_scale``, float32 scalars.

    Raises:
        ConfigError: an image score that reads the map, without a localizer.
    """

    def __init__(
        self,
        network: nn.Layer,
        image_size: Sequence[int],
        image_score: ImageScore,
        localizer: Localizer | None = None,
        tiling: Tiling | None = None,
    ) -> None:
        super().__init__()
        if image_score.needs_map and localizer is None:
            raise ConfigError(
                "Score", "reads the anomaly map: set Localize, such as {name: FeatureGaussian}"
            )
        self.network = network
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.image_score = image_score
        self.localizer = localizer
        self.tiling = tiling
        names = ("", "pixel_") if localizer is not None else ("",)
        for name in names:
            self.register_buffer(f"{name}threshold", paddle.full([], float("nan")))
            self.register_buffer(f"{name}scale", paddle.ones([]))
        self._reader = FeatureReader(
            network, image_score.needs + (localizer.needs if localizer is not None else ())
        )
        self._features: Callable[[paddle.Tensor], Features] = self.features

    def forward(self, images: paddle.Tensor) -> dict[str, paddle.Tensor]:
        """Scores normalised pictures.

        Args:
            images: float32 [N, 3, H, W], RGB, normalised by the preprocessing contract.

        Returns:
            ``score`` float32 [N], larger is worse; ``normalized_score`` float32 [N] in (0, 1),
            above 0.5 where the score is above the threshold; ``embedding`` float32 [N, D], with
            tiles their mean; with a localizer ``map`` float32 [N, H, W] in (0, 1), above 0.5
            where a pixel is above the pixel threshold: calibrated once, never by the picture.
        """
        return self.judge(self.run_network(images))

    def run_network(self, images: paddle.Tensor) -> Features:
        """:meth:`features`, by whatever runs the network just now (:meth:`features_by`)."""
        return self._features(images)

    def features(self, images: paddle.Tensor) -> Features:
        """The part of :meth:`forward` that runs the network, once.

        Returns:
            what the image score needs, by name, ``embedding`` [N, D] among it, and with a
            localizer its ``cells`` [N, d, h, w]; with tiles [N, T, ...] each.
        """
        if self.tiling is None:
            return self._read(images)
        tiles = self.tiling.count
        found = self._read(self.tiling.cut(images))
        return {name: value.reshape([-1, tiles, *value.shape[1:]]) for name, value in found.items()}

    def _read(self, images: paddle.Tensor) -> Features:
        found = self._reader(images)
        if self.localizer is not None:
            found["cells"] = self.localizer.cells(found)
        return {name: found[name] for name in self.feature_names}

    @property
    def pictures_at_once(self) -> int:
        tiles, (height, width) = 1, self.image_size
        if self.tiling is not None:
            tiles, (height, width) = self.tiling.count, self.tiling.size
        beside = self.localizer.input_pixels if self.localizer is not None else 0
        return max(1, MAX_INPUT_PIXELS // (tiles * (height * width + beside)))

    @property
    def feature_names(self) -> list[str]:
        """What :meth:`features` returns, by name."""
        cells = ["cells"] if self.localizer is not None else []
        return [*sorted({"embedding", *self.image_score.needs}), *cells]

    def judge(self, features: Features) -> dict[str, paddle.Tensor]:
        """The part of :meth:`forward` behind the network."""
        parts, anomaly_map = self.parts(features)
        score = self.image_score.combine(parts)
        embedding = features["embedding"]
        judged = {
            "score": score,
            "normalized_score": _normalized(score, self.threshold, self.scale),
            "embedding": embedding if self.tiling is None else embedding.mean(axis=1),
        }
        if anomaly_map is not None:
            judged["map"] = _normalized(anomaly_map, self.pixel_threshold, self.pixel_scale)
        return judged

    def parts(self, features: Features) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        """Parts of the score [N, P] and map [N, H, W] (None without a localizer), uncalibrated."""
        if self.tiling is not None:
            features = {name: value.flatten(0, 1) for name, value in features.items()}
        anomaly_map = self.localizer(features["cells"]) if self.localizer is not None else None
        parts = self.image_score.parts(features, anomaly_map)
        if self.tiling is not None:
            parts = parts.reshape([-1, self.tiling.count, parts.shape[1]]).max(axis=1)
            anomaly_map = self.tiling.join(anomaly_map) if anomaly_map is not None else None
        return parts, anomaly_map

    def fit(self, features: Mapping[str, np.ndarray]) -> None:
        """Learns good pictures; features: as :meth:`features` gives them, of N >= 2 pictures."""
        if self.tiling is not None:
            features = {name: _joined(value) for name, value in features.items()}
        if self.localizer is not None:
            self.localizer.fit(features["cells"])
        self.image_score.fit(features)

    def calibrate(self, calibration: Calibration, pixels: Calibration | None = None) -> None:
        """Sets the thresholds and scales of the normalised score and, with a localizer, map."""
        self.threshold.set_value(np.asarray(calibration.threshold, np.float32))
        self.scale.set_value(np.asarray(calibration.scale, np.float32))
        if pixels is not None:
            self.pixel_threshold.set_value(np.asarray(pixels.threshold, np.float32))
            self.pixel_scale.set_value(np.asarray(pixels.scale, np.float32))

    @contextmanager
    def features_by(self, features: Callable[[paddle.Tensor], Features]) -> Iterator[None]:
        """While the block runs, :meth:`forward` has its network run by an equal function."""
        self._features = features
        try:
            yield
        finally:
            self._features = self.features

    def save(self, path: str | os.PathLike[str], card: DetectorCard) -> None:
        """Writes ``path`` (safetensors, the card in its header) and a readable ``.json`` beside.

        The safetensors file is complete by itself; the JSON is a copy of the card for people.
        """
        arrays = {
            f"network.{name}": value.numpy() for name, value in self.network.state_dict().items()
        }
        arrays |= fitted_arrays(self)
        arrays |= {name: getattr(self, name).numpy() for name in self._calibrated()}
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
        try:
            network = ARCHITECTURES.build(_without_weights(card.arch), "Arch")
            _load_exactly(network, arrays, "network.", path)
            detector = build_detector(
                network,
                card.preprocess.image_size,
                card.density,
                card.score,
                card.localize,
                card.tiling,
            )
        except ConfigError as error:
            raise ModelError(f"{path}: its description cannot be built: {error}") from error
        for name in detector._calibrated():
            if name not in arrays or arrays[name].shape != ():
                raise ModelError(f"{path}: the array {name!r} is missing or damaged")
            getattr(detector, name).set_value(arrays[name])
        load_fitted_arrays(
            detector,
            {
                name: value
                for name, value in arrays.items()
                if name.startswith(("image_score.", "localizer."))
            },
        )
        detector.eval()
        return detector, card

    def _calibrated(self) -> list[str]:
        names = ["threshold", "scale"]
        return names if self.localizer is None else [*names, "pixel_threshold", "pixel_scale"]


def build_detector(
    network: nn.Layer,
    image_size: Sequence[int],
    density: Mapping[str, Any],
    score: Mapping[str, Any],
    localize: Mapping[str, Any] | None,
    tiling: Mapping[str, Any] | None = None,
) -> Detector:
    """A detector that is not fitted yet, of the sections that its card keeps.

    Raises:
        ConfigError: a wrong name, key or value in one of them.
    """

    def build_density() -> nn.Layer:
        return DENSITIES.build(density, "Density", embedding_size=network.embedding_size)

    tiles = None
    if tiling is not None:
        try:
            tiles = Tiling(image_size, **tiling)
        except (TypeError, ValueError) as error:
            raise ConfigError("Tiling", str(error)) from error
    seen = {"network": network, "image_size": list(image_size if tiles is None else tiles.size)}
    image_score = IMAGE_SCORES.build(score, "Score", density=build_density, **seen)
    localizer = None
    if localize is not None:
        localizer = LOCALIZERS.build(localize, "Localize", **seen)
    detector = Detector(network, image_size, image_score, localizer, tiles)
    detector.eval()
    return detector


def _normalized(
    values: paddle.Tensor, threshold: paddle.Tensor, scale: paddle.Tensor
) -> paddle.Tensor:
    deviation = (values - threshold) / scale
    return 0.5 + 0.5 * deviation / (1.0 + deviation.abs())


def _joined(values: np.ndarray) -> np.ndarray:
    """[N, T, ...] -> [N * T, ...]."""
    return values.reshape(-1, *values.shape[2:])


def _plain(calibration: Calibration | None) -> dict[str, Any] | None:
    return dataclasses.asdict(calibration) if calibration else None


def _calibration(values: Mapping[str, Any] | None) -> Calibration | None:
    return Calibration(**values) if values else None


def _without_weights(arch: Mapping[str, Any]) -> dict[str, Any]:
    """A section ``Arch`` that neither reads nor fetches a file: its weights are in the detector."""
    plain = {**arch, "pretrained": False}
    if isinstance(arch.get("Backbone"), Mapping) and "pretrained" in arch["Backbone"]:
        plain["Backbone"] = {**arch["Backbone"], "pretrained": False}
    return plain


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
