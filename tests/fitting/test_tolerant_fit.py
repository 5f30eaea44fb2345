"""A detector that is fitted under ``Tolerance``, on generated pictures and an untrained network."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from ppcls_sspcab.arch.build import build_network
from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.config.schema import ToleranceSection
from ppcls_sspcab.data.build import GoodPictures, good_pictures
from ppcls_sspcab.data.generated import generate_demo
from ppcls_sspcab.data.split import evenly_spread
from ppcls_sspcab.data.tolerance import Change, ChangedStore, apply_change
from ppcls_sspcab.detector.build import build_threshold, unfitted_detector
from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.engine.engine import Engine
from ppcls_sspcab.fitting import fit as fitting
from ppcls_sspcab.fitting.fit import FittedDetector, fit_detector
from ppcls_sspcab.fitting.run import stored_image_scores
from ppcls_sspcab.fitting.tolerance import (
    TRIED_PICTURES,
    behaviour_under_change,
    single_changes,
)

OFF, ON = {"Tolerance": None}, {"Tolerance": {}}


def fit(config: Config, pictures: GoodPictures) -> FittedDetector:
    import paddle

    paddle.seed(0)
    network = build_network(config, 3)
    network.eval()
    detector = unfitted_detector(config, network)
    return fit_detector(detector, build_threshold(config), config, pictures)


@pytest.fixture(scope="module")
def gaskets(tmp_path_factory: pytest.TempPathFactory) -> Config:
    root = tmp_path_factory.mktemp("gaskets")
    generate_demo(root, size=64, train=100, test=0, bad=0, categories=["gasket"])
    keys = {
        "Global.data_root": str(root),
        "Global.category": "gasket",
        "Score": {"name": "map_max"},
        "Threshold.held_out_share": 0.4,
    }
    return load_config("demo.yaml", keys)


@pytest.fixture(scope="module")
def fits(gaskets: Config) -> dict[str, FittedDetector]:
    pictures = good_pictures(gaskets)
    overrides = {"off": OFF, "on": ON}
    return {name: fit(load_config(gaskets, keys), pictures) for name, keys in overrides.items()}


@pytest.mark.slow
def test_fewer_good_pictures_alarm_under_a_tolerated_change(
    gaskets: Config, fits: dict[str, FittedDetector]
) -> None:
    held_out = good_pictures(gaskets).held_out
    assert held_out is not None

    def alarms(name: str, change: Change) -> float:
        store = ChangedStore(held_out, lambda _, image: apply_change(image, change))
        scores = stored_image_scores(fits[name].detector, store, 8, "test")
        return float(np.mean(scores > fits[name].calibration.threshold))

    for change in (Change(brightness=0.95), Change(down=1.0, right=-1.0), Change(quality=75)):
        assert alarms("on", change) <= alarms("off", change)
    worst = Change(brightness=0.95, contrast=0.95, down=1.0, right=1.0, quality=75)
    assert alarms("off", worst) > 0.3
    assert alarms("on", worst) < alarms("off", worst) / 2


@pytest.mark.slow
def test_the_threshold_has_one_score_of_each_held_out_picture(
    fits: dict[str, FittedDetector],
) -> None:
    plain, tolerant = fits["off"].calibration, fits["on"].calibration
    assert plain.pictures == tolerant.pictures == 40
    assert plain.guaranteed
    assert tolerant.guaranteed
    assert "Tolerance" not in plain.note
    assert tolerant.note == f"{plain.note}; each picture changed at random within Tolerance"
    pixels = fits["on"].pixel_calibration
    assert pixels is not None
    assert pixels.pictures == 40
    assert "Tolerance" in pixels.note


def test_k_fold_judges_every_picture_changed_and_once(
    tiny_yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(tiny_yaml, {"Threshold.calibrate_on": "k_fold", **ON})
    seen = []
    read = fitting.StoredFeatures

    def noting(*arguments: object) -> object:
        seen.append(arguments[1])
        return read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(fitting, "StoredFeatures", noting)
    pictures = good_pictures(config)
    fitted = fit(config, pictures)
    assert fitted.calibration.pictures == len(pictures.train) == 12
    assert not fitted.calibration.guaranteed
    assert "Tolerance" in fitted.calibration.note
    fitted_to, judged = seen
    assert len(fitted_to) == 24
    assert all((judged[index] != pictures.train[index]).any() for index in range(12))


def test_k_fold_leaves_out_both_versions_of_a_picture(
    tiny_yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(tiny_yaml, {"Threshold.calibrate_on": "k_fold", **ON})
    calls: list[np.ndarray] = []
    of = fitting.StoredFeatures.of

    def noting(features: fitting.StoredFeatures, rows: np.ndarray) -> fitting.StoredFeatures:
        calls.append(rows)
        return of(features, rows)

    monkeypatch.setattr(fitting.StoredFeatures, "of", noting)
    fit(config, good_pictures(config))
    for fitted, judged in zip(calls[::2], calls[1::2], strict=True):
        others = np.delete(np.arange(12), judged)
        assert sorted(fitted) == sorted([*(2 * others), *(2 * others + 1)])


def test_the_section_off_is_the_section_absent(tiny_yaml: Path) -> None:
    config = load_config(tiny_yaml, OFF)
    absent = {name: section for name, section in config.tree.items() if name != "Tolerance"}
    pictures = good_pictures(config)
    assert fit(config, pictures).calibration == fit(Config(absent), pictures).calibration


def test_single_changes_are_at_the_ends_and_beyond() -> None:
    ends = ToleranceSection(brightness=0.1, white_balance=0, turn=3, jpeg=None)
    found = single_changes(ends, 512, 600)
    assert list(found) == [
        "brightness ±0.1",
        "contrast ±0.05",
        "shift 2 px",
        "turn 3 degrees",
        "brightness x0.9",
        "contrast x0.8",
        "shift 4 px",
        "blur 1 px",
        "JPEG 50",
    ]
    assert found["brightness ±0.1"] == [Change(brightness=0.9), Change(brightness=1.1)]
    assert {(abs(one.down), abs(one.right)) for one in found["shift 2 px"]} == {(4, 4)}
    assert len(set(found["shift 2 px"])) == 4
    assert found["blur 1 px"] == [Change(blur=2.0)]


@pytest.mark.slow
def test_what_a_detector_cannot_bear_is_measured_and_said(
    gaskets: Config, fits: dict[str, FittedDetector], caplog: pytest.LogCaptureFixture
) -> None:
    config = load_config(gaskets, ON)
    pictures = good_pictures(config)
    with caplog.at_level(logging.WARNING):
        entries = behaviour_under_change(fits["on"], config, pictures)
    assert config.Tolerance is not None
    assert entries["tolerance"] == config.Tolerance.model_dump()
    assert pictures.held_out is not None
    store, detector = pictures.held_out, fits["on"].detector
    darker = ChangedStore(store, lambda _, image: apply_change(image, Change(brightness=0.9)))
    scores = stored_image_scores(detector, darker, 8, "test")
    tried = scores[evenly_spread(40, TRIED_PICTURES)]
    expected = np.mean(tried > fits["on"].calibration.threshold)
    rates = entries["alarms_under_change"]
    assert rates["brightness x0.9"] == pytest.approx(expected)
    assert set(rates) == set(single_changes(config.Tolerance, 64, 64))
    text = caplog.text
    for name, rate in rates.items():
        assert (f"{name} (" in text) == (rate >= 3 / TRIED_PICTURES)
    found = entries["synthetic_defects_found"]
    hidden = found["sharp"] - found["blur 1 px"]
    assert ("hides defects" in text) == (hidden > 0.1)


def test_the_card_says_what_it_was_fitted_under(tiny_yaml: Path) -> None:
    for keys in (OFF, ON):
        config = load_config(tiny_yaml, keys)
        Engine(config, "train").train()
        protocol = load_detector(config.folder.detector).card.protocol
        section = None if config.Tolerance is None else config.Tolerance.model_dump()
        assert protocol["tolerance"] == section
        assert ("alarms_under_change" in protocol) == (section is not None)
    (results,) = Engine(config, "eval").eval()
    assert results.protocol["alarms_under_change"] == protocol["alarms_under_change"]
