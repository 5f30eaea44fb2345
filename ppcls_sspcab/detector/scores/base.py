"""The base of all image scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import paddle

from ppcls_sspcab.detector.batches import Mapped, sampled
from ppcls_sspcab.detector.density.base import Density
from ppcls_sspcab.detector.fitted import FittedLayer

Features = Mapping[str, paddle.Tensor]
DensityFactory = Callable[[], Density]


class ImageScore(FittedLayer):
    """One number a picture, larger for worse parts.

    A subclass defines :meth:`forward`, and :meth:`fit` if it learns something; one that is made of
    several scores derives from :class:`ppcls_sspcab.detector.scores.composite.CompositeScore`.

    Attributes:
        needs: names of the features it reads, see
            :class:`ppcls_sspcab.arch.features.FeatureReader`.
        needs_map: whether it reads the anomaly map.
        learns_weights: whether :meth:`learn_weights` does anything.
    """

    needs: tuple[str, ...] = ()
    needs_map = False
    learns_weights = False

    def fit(self, features: Mapping[str, np.ndarray]) -> None:
        """Learns good pictures.

        Args:
            features: those it needs, float32 [N, ...] each, N >= 2.
        """

    def fit_batches(self, batches: Iterable[Mapping[str, np.ndarray]]) -> None:
        """:meth:`fit` of any number of pictures, here to as many, evenly spread, as memory holds.

        Args:
            batches: of features, by name [n, ...], that may be gone through more than once.
        """
        if type(self).fit is not ImageScore.fit:
            rows = sampled(Mapped(lambda found: [found[name] for name in self.needs], batches))
            self.fit(dict(zip(self.needs, rows, strict=True)))

    @property
    def uses_held_out(self) -> bool:
        """Whether pictures that calibrate the threshold also set the score (:meth:`standardize`).

        A false-alarm rate is then kept nearly, not by proof.
        """
        return type(self).standardize is not ImageScore.standardize

    def forward(self, features: Features, anomaly_map: paddle.Tensor | None) -> paddle.Tensor:
        """The score, float32 [N].

        Args:
            features: those it needs, float32 [N, ...] each.
            anomaly_map: float32 [N, H, W], not calibrated; None where there is no localizer.
        """
        raise NotImplementedError

    @property
    def part_count(self) -> int:
        """P, how many numbers :meth:`parts` returns."""
        return 1

    def parts(self, features: Features, anomaly_map: paddle.Tensor | None) -> paddle.Tensor:
        """The P numbers that the score is made of, float32 [N, P]; here the score itself.

        With tiles, each of them is the largest of a picture's tiles.
        """
        return self(features, anomaly_map).unsqueeze(-1)

    def combine(self, parts: paddle.Tensor) -> paddle.Tensor:
        """The score, float32 [N], of its parts [N, P]."""
        return parts[:, 0]

    def standardize(self, parts: np.ndarray) -> None:
        """Learns the location and scale of each part; called after :meth:`fit`.

        Args:
            parts: float [N, P], of good pictures that were not fitted to.
        """

    def learn_weights(self, good_parts: np.ndarray, bad_parts: np.ndarray) -> None:
        """Learns how much each part counts; called after :meth:`standardize`.

        Args:
            good_parts: float [N, P], those :meth:`standardize` was given.
            bad_parts: float [M, P], of synthetic defects in these pictures.
        """

    def candidates(self, parts: np.ndarray) -> dict[str, tuple[ImageScore, np.ndarray]]:
        """By name, the scores of which one is to be chosen, each with its columns of the parts.

        Args:
            parts: float [N, P].
        """
        return {type(self).__name__: (self, parts)}
