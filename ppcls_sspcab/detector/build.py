"""The detector of a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paddle import nn

from ppcls_sspcab.arch.tiles import Tiling
from ppcls_sspcab.config.config import Config
from ppcls_sspcab.data.split import held_out_share
from ppcls_sspcab.detector.card import DEFAULT_SCORE
from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.detector.scores.composite import named_section
from ppcls_sspcab.detector.threshold.base import Threshold
from ppcls_sspcab.errors import ConfigError, did_you_mean
from ppcls_sspcab.registry import DENSITIES, IMAGE_SCORES, LOCALIZERS, THRESHOLDS

AUTO = "auto"


def unfitted_detector(config: Config, network: nn.Layer) -> Detector:
    """The detector of sections ``Density``, ``Score``, ``Localize`` and ``Tiling``, not fitted."""
    return build_detector(
        network,
        config.Preprocess.image_size,
        config.Density,
        score_section(config),
        config.Localize,
        tiling_section(config),
    )


def score_section(config: Config) -> dict[str, Any]:
    """Section ``Score`` of the detector to fit.

    ``auto`` is all candidates side by side where held-out pictures choose one of them, and the
    first, which is the fused one, where there are none.

    Raises:
        ConfigError: ``auto`` with scores of one's own, and no held-out pictures to choose by.
    """
    section = config.Score or DEFAULT_SCORE
    if section.get("name") != AUTO:
        return dict(section)
    for key in section:
        if key not in ("name", "scores"):
            known = did_you_mean(key, ["name", "scores"])
            raise ConfigError(f"Score.{key}", f"unknown key of 'auto'{known}")
    if chooses_score(config):
        return {"name": AUTO, "scores": candidate_sections(config)}
    if "scores" in section:
        raise ConfigError(
            "Score.scores",
            "held-out pictures choose one of them, and there are none: set "
            "Threshold.calibrate_on: held_out, or name one score",
        )
    return candidate_sections(config)[0]


def tiling_section(config: Config) -> dict[str, Any] | None:
    """Section ``Tiling`` with its defaults; None without one."""
    return config.Tiling.model_dump() if config.Tiling is not None else None


def candidate_sections(config: Config) -> list[dict[str, Any]]:
    """Sections of the image scores that ``auto`` chooses from, its own ``scores`` if it has some.

    The first is taken unless another is clearly better. By default that is a fused one: where
    nothing tells the scores apart, none should decide alone.

    Raises:
        ConfigError: ``scores`` is no list of two sections or more, or a section has no name or
            stands there twice.
    """
    own = (config.Score or {}).get("scores")
    if own is not None:
        if not isinstance(own, list) or len(own) < 2:
            raise ConfigError("Score.scores", "must be a list of two scores or more")
        found = [named_section(item, f"Score.scores.{index}") for index, item in enumerate(own)]
        for index, section in enumerate(found):
            if section in found[:index]:
                raise ConfigError(f"Score.scores.{index}", "stands there twice")
        return found
    maps = ["map_max"] if config.Localize else []
    fused = {"name": "fused", "parts": ["place_gaussian", *maps, "logit"], "combine": "learnt"}
    names = ["place_gaussian", *maps, "patch_bank", "embedding", "embedding_max", "place_max"]
    return [fused, *({"name": name} for name in [*names, "logit"])]


def chooses_score(config: Config) -> bool:
    """Whether held-out pictures choose the image score."""
    return (config.Score or {}).get("name") == AUTO and held_out_share(config) > 0


def build_threshold(config: Config) -> Threshold:
    """The threshold method of section ``Threshold``.

    Raises:
        ConfigError: a wrong name, key or value, or a ``validation`` that the method does not take
            or lacks.
    """
    method = THRESHOLDS.build(config.Threshold.method, "Threshold")
    has_validation = config.Threshold.validation is not None
    name = type(method).__name__
    if has_validation and not method.needs_bad_scores:
        raise ConfigError("Threshold.validation", f"{name} needs good pictures only")
    if method.needs_bad_scores and not has_validation:
        raise ConfigError(
            "Threshold.validation",
            f"{name} needs a validation set of your own: {{good: FOLDER, bad: FOLDER}}, pictures "
            "that are in no test set",
        )
    return method


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
