"""Maps as pictures."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from ppcls_sspcab.image.drawing import contour, overlay, sixteen_bit

GREY = np.full((12, 16, 3), 100, np.uint8)


def test_a_calm_map_changes_nothing_and_an_alarm_turns_red() -> None:
    np.testing.assert_array_equal(overlay(GREY, np.full((12, 16), 0.3)), GREY)
    painted = overlay(GREY, np.full((12, 16), 0.95)).astype(int)
    assert (painted[..., 0] > painted[..., 1] + 50).all()


def test_the_same_value_has_the_same_colour_in_every_picture() -> None:
    alone, beside = np.full((12, 16), 0.2), np.full((12, 16), 0.2)
    alone[3, 4] = beside[3, 4] = 0.8
    beside[9, 9] = 1.0
    np.testing.assert_array_equal(overlay(GREY, alone)[3, 4], overlay(GREY, beside)[3, 4])


def test_a_contour_is_the_border_of_its_region() -> None:
    region = np.zeros((12, 16), bool)
    region[2:8, 0:5] = True
    drawn = (contour(GREY, region, (255, 0, 0)) != GREY).any(axis=2)
    expected = region.copy()
    expected[3:7, 1:4] = False
    np.testing.assert_array_equal(drawn, expected)


def test_sixteen_bits_keep_the_map() -> None:
    anomaly_map = np.random.default_rng(0).random((12, 16)).astype(np.float32)
    stream = io.BytesIO()
    sixteen_bit(anomaly_map).save(stream, "png")
    with Image.open(stream) as read:
        assert read.mode.startswith("I")
        np.testing.assert_allclose(np.asarray(read) / 65535, anomaly_map, atol=1e-5)
