"""The Detector: network, image score, anomaly map and thresholds in one layer, one forward."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import paddle
from paddle import nn

from ppcls_sspcab.arch.features import FeatureReader
from ppcls_sspcab.arch.modes import evaluation_mode
from ppcls_sspcab.arch.tiles import Tiling
from ppcls_sspcab.data.postprocess.anomaly_decision import AnomalyDecision
from ppcls_sspcab.detector.batches import Mapped
from ppcls_sspcab.detector.card import DetectorCard
from ppcls_sspcab.detector.localize.base import Localizer
from ppcls_sspcab.detector.predict import predict
from ppcls_sspcab.detector.run import Tensors as Features
from ppcls_sspcab.detector.scores.base import ImageScore
from ppcls_sspcab.detector.threshold.calibration import Calibration
from ppcls_sspcab.errors import ConfigError, ModelError
from ppcls_sspcab.image.decode import Source
from ppcls_sspcab.result import Failure, Result, normalized, without_map

# Pixels that run through the network at once: 64 pictures of 256 x 256.
MAX_INPUT_PIXELS = 1 << 22


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
        self._card: DetectorCard | None = None
        for name in self.calibrated_names:
            missing = paddle.ones([]) if name.endswith("scale") else paddle.full([], float("nan"))
            self.register_buffer(name, missing)
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

    def predict(
        self, pictures: Source | Iterable[Source], batch_size: int = 16, maps: bool = True
    ) -> list[Result | Failure]:
        """Judges pictures as they are, decoded and resized by the card's contract.

        On a CPU each call compiles the network for oneDNN first, which takes a second or more:
        give many pictures at once.

        Args:
            pictures: paths, bytes of picture files, or uint8 pixels [H, W, 3] RGB or [H, W], of
                any size; a single one is a list of one, an array [N, H, W, 3] is N pictures.
            batch_size: pictures run at once, >= 1.
            maps: keep the anomaly maps of a detector that has them, 4 bytes a pixel.

        Returns:
            one record a picture, in order; a ``Failure`` for one that cannot be read.

        Raises:
            ModelError: the detector was neither fitted nor read from a file.
        """
        preprocess = self.card.preprocess
        decide = AnomalyDecision(float(self.threshold), float(self.scale))
        with evaluation_mode(self):
            records = predict(self, preprocess, pictures, batch_size, decide)
            return list(records if maps else map(without_map, records))

    def run_network(self, images: paddle.Tensor) -> Features:
        """:meth:`features`, or inside :meth:`features_by` the function that replaces it."""
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
    def _inputs(self) -> tuple[int, tuple[int, int]]:
        """The network's inputs for one picture: their number and their (H, W)."""
        if self.tiling is None:
            return 1, self.image_size
        return self.tiling.count, self.tiling.size

    @property
    def pictures_at_once(self) -> int:
        tiles, (height, width) = self._inputs
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
            "normalized_score": normalized(score, self.threshold, self.scale),
            "embedding": embedding if self.tiling is None else embedding.mean(axis=1),
        }
        if anomaly_map is not None:
            judged["map"] = normalized(anomaly_map, self.pixel_threshold, self.pixel_scale)
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

    def fit(self, batches: Iterable[Mapping[str, np.ndarray]]) -> None:
        """Learns good pictures.

        Args:
            batches: as :meth:`features` gives them, of 2 pictures or more in all; they are gone
                through several times.
        """
        if self.tiling is not None:
            batches = Mapped(_of_tiles, batches)
        if self.localizer is not None:
            self.localizer.fit_batches(Mapped(lambda found: found["cells"], batches))
        self.image_score.fit_batches(batches)

    def calibrate(self, calibration: Calibration, pixels: Calibration | None = None) -> None:
        """Sets the thresholds and scales of the normalised score and, with a localizer, map."""
        self.threshold.set_value(np.asarray(calibration.threshold, np.float32))
        self.scale.set_value(np.asarray(calibration.scale, np.float32))
        if pixels is not None:
            self.pixel_threshold.set_value(np.asarray(pixels.threshold, np.float32))
            self.pixel_scale.set_value(np.asarray(pixels.scale, np.float32))

    @contextmanager
    def features_by(self, features: Callable[[paddle.Tensor], Features]) -> Iterator[None]:
        """Inside the block ``features``, equal to :meth:`features`, runs the network."""
        self._features = features
        try:
            yield
        finally:
            self._features = self.features

    @property
    def card(self) -> DetectorCard:
        """What the detector was made from; set when it is fitted or read from a file.

        Raises:
            ModelError: it was neither.
        """
        if self._card is None:
            raise ModelError("this detector was neither fitted nor read from a file")
        return self._card

    @card.setter
    def card(self, card: DetectorCard) -> None:
        self._card = card

    @property
    def calibrated_names(self) -> list[str]:
        """Names of the buffers that :meth:`calibrate` sets."""
        names = ["threshold", "scale"]
        return names if self.localizer is None else [*names, "pixel_threshold", "pixel_scale"]


def _of_tiles(features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tiles [N, T, ...] of pictures as pictures of their own, [N * T, ...]."""
    return {name: value.reshape(-1, *value.shape[2:]) for name, value in features.items()}
