"""Values of a YAML against annotations: what passes, what does not, and what is said of it."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
import pytest

from ppcls_sspcab.arguments import check_arguments, check_type, refuse_extremes
from ppcls_sspcab.errors import ConfigError

T = TypeVar("T")


class Gauge:
    """Something that only a program can give."""


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (1, int),
        (1, float),
        (-2.5, float),
        (True, bool),
        ("", str),
        (None, None),
        (None, int | None),
        ("3way", Literal["normal", "3way"]),
        ([1, 2], list[int]),
        ((1, 2), list[int]),
        ([1, 2], Sequence[float]),
        ([1, 2.5], tuple[int, float]),
        ([1, 2, 3], tuple[int, ...]),
        ({"a": {"b": [1]}}, dict[str, Any]),
        ({"a": 1}, Mapping[str, int]),
        (["map_max", {"name": "fused"}], list[str | dict[str, Any]]),
        ("auto", list[str] | Literal["auto"]),
        (object(), Any),
        (object(), T),
        (Gauge(), Gauge),
        ([Gauge()], list[Gauge]),
        (len, Callable[..., int]),
        (np.zeros(2), np.ndarray),
    ],
)
def test_what_fits(value: Any, hint: Any) -> None:
    check_type(value, hint, "K")


@pytest.mark.parametrize(
    ("value", "hint", "said"),
    [
        ("x", int, "K: must be a whole number, not 'x'"),
        (True, int, "K: must be a whole number, not True"),
        (1.0, int, "K: must be a whole number, not 1.0"),
        (True, float, "K: must be a number, not True"),
        ("1", float, "K: must be a number, not '1'"),
        (1, bool, "K: must be true or false, not 1"),
        (1, str, "K: must be a text, not 1"),
        (datetime.date(2026, 1, 2), str, "K: must be a text, not datetime.date(2026, 1, 2)"),
        ("x", int | None, "K: must be a whole number or null, not 'x'"),
        (3, bool | str, "K: must be true or false or a text, not 3"),
        ("4way", Literal["normal", "3way"], "K: must be 'normal' or '3way', not '4way'"),
        ("auot", list[str] | Literal["auto"], "K: must be a list or 'auto', not 'auot'"),
        ("12", list[str], "K: must be a list, not '12'"),
        ("12", Sequence[str], "K: must be a list, not '12'"),
        ([1, "2"], list[int], "K.1: must be a whole number, not '2'"),
        ([1, "2"], int | list[int], "K.1: must be a whole number, not '2'"),
        ([1], tuple[int, int], "K.1: is required and not set"),
        ([1, 2, 3], tuple[int, int], "K: must be a list of at most 2, not [1, 2, 3]"),
        ([], dict[str, int], "K: must be a mapping, not []"),
        ([1], Mapping[str, Any], "K: must be a mapping, not [1]"),
        (3, Callable[..., Any], "K: must be a function, not 3"),
        (3, Gauge, "K: must be Gauge, not 3"),
        (3, Sequence[int], "K: must be a list, not 3"),
        (float("nan"), float, "K: must be a number of at most 3.4e+38, not nan"),
        (float("-inf"), float, "K: must be a number of at most 3.4e+38, not -inf"),
        (4e38, Any, "K: must be a number of at most 3.4e+38, not 4e+38"),
        (2**63, int, "K: must be a number of at most 9.2e+18, not 9223372036854775808"),
        ([{"a": 1e39}], list[Any], "K.0.a: must be a number of at most 3.4e+38, not 1e+39"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(value: Any, hint: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_type(value, hint, "K")
    assert str(caught.value) == said


def test_the_largest_numbers_pass() -> None:
    refuse_extremes({"a": [2**63 - 1, -(2**63) + 1, 3.3e38, True, None, "inf"]}, "")


def test_arguments_are_checked_without_a_call() -> None:
    def target(size: int, *, name: str = "x", **_: Any) -> None:
        raise AssertionError

    check_arguments(target, {"size": 3, "other": object()}, "K")
    for arguments, said in (
        ({}, "K.size: is required and not set"),
        ({"size": "3"}, "K.size: must be a whole number, not '3'"),
        ({"size": 3, "name": None}, "K.name: must be a text, not None"),
    ):
        with pytest.raises(ConfigError) as caught:
            check_arguments(target, arguments, "K")
        assert str(caught.value) == said
