"""What a calibrated detector bears: alarms on good pictures that are changed, defects that blur
hides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.schema import ToleranceSection
from ppcls_sspcab.data.build import GoodPictures
from ppcls_sspcab.data.split import evenly_spread
from ppcls_sspcab.data.synthetic import synthetic_validation
from ppcls_sspcab.data.tolerance import Change, apply_change, scaled
from ppcls_sspcab.detector.accelerated import accelerated
from ppcls_sspcab.detector.detector import Detector
from ppcls_sspcab.detector.run import detect, gather
from ppcls_sspcab.fitting.fit import FittedDetector
from ppcls_sspcab.image.batches import batches
from ppcls_sspcab.utils.logger import get_logger

# Held-out pictures that every change is tried on, and how many of them must alarm to be reported:
# at a rate of 5 %, three of sixteen do so once in twenty-three times.
TRIED_PICTURES = 16
FEWEST_ALARMS = 3
# Of the synthetic defects made from them: every third, which are of all kinds.
DEFECT_STEP = 3
# Share of the defects that blur must hide to be reported.
HIDDEN = 0.1
USUAL_RATE = 0.05  # of false alarms, where the threshold's method asks for none
BLUR = 1.0  # pixels of a picture of 256


def behaviour_under_change(
    fitted: FittedDetector, config: Config, pictures: GoodPictures
) -> dict[str, Any]:
    """Entries of the protocol: the tolerance, and what the detector cannot bear; logged, too.

    Args:
        fitted: to ``pictures``, which are those of the run, unchanged.

    Returns:
        ``tolerance``: the section, None without one; with one and held-out pictures also
        ``alarms_under_change`` (share of good pictures by change) and
        ``synthetic_defects_found`` (share of synthetic defects, sharp and under blur).
    """
    tolerance, held_out = config.Tolerance, pictures.held_out
    if tolerance is None or held_out is None:
        return {"tolerance": None if tolerance is None else tolerance.model_dump()}
    chosen = evenly_spread(len(held_out), TRIED_PICTURES)
    good = np.stack([held_out[index] for index in chosen])
    made, labels, _, _ = synthetic_validation(good, config.Global.seed)
    defective = made[labels == 1][::DEFECT_STEP]
    changes = single_changes(tolerance, *good.shape[1:3])
    blur = f"blur {BLUR:g} px"
    with accelerated(fitted.detector):
        alarms = {name: _rate(fitted, config, good, turns) for name, turns in changes.items()}
        found = {
            "sharp": _rate(fitted, config, defective, [Change()]),
            blur: _rate(fitted, config, defective, changes[blur]),
        }
    worth_saying = min(FEWEST_ALARMS, len(good)) / len(good)
    _warn(fitted, config.Global.category, alarms, worth_saying, found)
    return {
        "tolerance": tolerance.model_dump(),
        "alarms_under_change": alarms,
        "synthetic_defects_found": found,
    }


def single_changes(tolerance: ToleranceSection, height: int, width: int) -> dict[str, list[Change]]:
    """Changes of one kind at the ends of a tolerance, and beyond the default's, by name.

    The pictures take turns with the changes of a name.

    Args:
        height, width: of the pictures.
    """
    ends: dict[str, list[Change]] = {}
    for name in ("brightness", "contrast"):
        if end := getattr(tolerance, name):
            ends[f"{name} ±{end:g}"] = [Change(**{name: 1 - end}), Change(**{name: 1 + end})]
    if end := tolerance.white_balance:
        both = [(1 - end, 1 + end), (1 + end, 1 - end)]
        ends[f"white balance ±{end:g}"] = [Change(red=red, blue=blue) for red, blue in both]
    if end := tolerance.shift:
        ends[f"shift {end:g} px"] = _shifts(end, height, width)
    if end := tolerance.turn:
        ends[f"turn {end:g} degrees"] = [Change(angle=-end), Change(angle=end)]
    if end := tolerance.blur:
        ends[f"blur {end:g} px"] = [Change(blur=scaled(end, height, width))]
    if tolerance.jpeg is not None:
        ends[f"JPEG {tolerance.jpeg}"] = [Change(quality=tolerance.jpeg)]
    return ends | {
        "brightness x0.9": [Change(brightness=0.9)],
        "contrast x0.8": [Change(contrast=0.8)],
        "shift 4 px": _shifts(4, height, width),
        f"blur {BLUR:g} px": [Change(blur=scaled(BLUR, height, width))],
        "JPEG 50": [Change(quality=50)],
    }


def _shifts(length: float, height: int, width: int) -> list[Change]:
    """Of the pixels of the picture, in the four diagonal directions."""
    reach = math.ceil(scaled(length, height, width))
    signs = [(down, right) for down in (-1, 1) for right in (-1, 1)]
    return [Change(down=down * reach, right=right * reach) for down, right in signs]


def _rate(
    fitted: FittedDetector, config: Config, images: np.ndarray, turns: Sequence[Change]
) -> float:
    """The share of changed pictures, uint8 [N, h, w, 3], that are called anomalies."""
    changed = np.stack(
        [apply_change(image, turns[index % len(turns)]) for index, image in enumerate(images)]
    )
    scores = _scores(fitted.detector, config, changed)
    return float(np.mean(scores > fitted.calibration.threshold))


def _scores(detector: Detector, config: Config, images: np.ndarray) -> np.ndarray:
    found = gather(
        {"score": detect(detector, config.Preprocess.normalize(images[batch]))["score"]}
        for batch in batches(range(len(images)), config.DataLoader.Eval.sampler.batch_size)
    )
    return found["score"]


def _warn(
    fitted: FittedDetector,
    category: str,
    alarms: dict[str, float],
    worth_saying: float,
    found: dict[str, float],
) -> None:
    asked = fitted.calibration.target_fpr or USUAL_RATE
    too_many = [
        f"{name} ({rate:.2f})"
        for name, rate in alarms.items()
        if rate > 2 * asked and rate >= worth_saying
    ]
    if too_many:
        get_logger().warning(
            f"{category}: more than twice the asked rate of false alarms under "
            f"{', '.join(too_many)}: widen Tolerance, if such pictures are good"
        )
    sharp, (blur, blurred) = found["sharp"], list(found.items())[-1]
    if sharp - blurred > HIDDEN:
        get_logger().warning(
            f"{category}: {blur} hides defects without an alarm: {blurred:.2f} of the synthetic "
            f"ones are found, {sharp:.2f} in sharp pictures; keep the camera in focus"
        )
