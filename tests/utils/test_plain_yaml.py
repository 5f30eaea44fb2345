"""YAML within bounds: merge keys and aliases as ever, and never more than fits."""

from __future__ import annotations

import pytest
import yaml

from ppcls_sspcab.utils.plain_yaml import MOST_VALUES, TooMuch, YamlError, read_yaml

PLAIN = [
    "",
    "a: 1",
    "a: &a {x: 1, y: [1, 2]}\nb: {<<: *a, y: 3}\nc: *a",
    "a: &a {x: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: *b}\nd: {<<: [*b, {z: 5}]}",
    # The merged mapping is looked into before it is made itself.
    "a: {inner: &i {<<: {x: 1}, x: 2}}\nb: {<<: *i}",
    "[1, 0x1f, 0o7, 1_000, true, null, 2024-01-01, 'a\nb', 1.5]",
]


@pytest.mark.parametrize("text", PLAIN)
def test_is_read_as_the_safe_loader_reads_it(text: str) -> None:
    assert read_yaml(text) == yaml.safe_load(text)


def test_an_exponent_needs_no_point() -> None:
    assert read_yaml("[3e-5, -1E+3]") == [3e-5, -1e3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "the key 'a' stands twice, line 3"),
        ("{1: a, 0x1: b}", "the key 1 stands twice"),
        ("? [a]\n: 1", "a key must be a plain text"),
        ("a: [", "expected the node content"),
        (f"a: 0x{'f' * 4000}", "a number has more than 400 digits, line 1"),
        ("a: 2024-99-99", "month must be in 1..12"),
        ("a: !!python/name:os.system ", "could not determine a constructor"),
    ],
)
def test_what_is_no_plain_value_is_named(text: str, message: str) -> None:
    with pytest.raises(YamlError, match=message):
        read_yaml(text)


def test_as_many_values_as_fit() -> None:
    assert len(read_yaml(f"[{','.join('x' * (MOST_VALUES - 1))}]")) == MOST_VALUES - 1
    with pytest.raises(TooMuch):
        read_yaml(f"[{','.join('x' * MOST_VALUES)}]")
    with pytest.raises(TooMuch):
        read_yaml("&a [*a]")
