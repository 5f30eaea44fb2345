"""Tables of text: what a Markdown reader finds in them is what was put in."""

from __future__ import annotations

import math
import re

import pytest

from ppcls_sspcab.utils.table import (
    flat,
    interval,
    markdown_table,
    mean_and_spread,
    number,
    plain_table,
    whole,
)


def read(table: str) -> list[list[str]]:
    """The cells of a Markdown table's lines, as a renderer splits them."""
    return [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in table.splitlines()
    ]


def test_cells_come_back_whatever_they_hold() -> None:
    rows = [["a|b", 1], ["two\nlines", 0.5], ["", "ü"]]
    header, line, *found = read(markdown_table(["kind", "n"], rows))
    assert header == ["kind", "n"] and set("".join(line)) == {"-"}
    assert found == [["a|b", "1"], ["two lines", "0.5"], ["", "ü"]]


def test_lines_are_aligned_and_rules_long_enough() -> None:
    lines = markdown_table(["n", "kind"], [[1, "long enough"], [22, "x"]]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len({tuple(at.start() for at in re.finditer(r"\|", line)) for line in lines}) == 1
    assert all(len(rule) >= 3 for rule in read("\n".join(lines))[1])


def test_a_table_needs_no_rows_but_whole_ones() -> None:
    assert len(markdown_table(["a", "b"], []).splitlines()) == 2
    with pytest.raises(ValueError):
        markdown_table(["a", "b"], [["1"]])


def test_plain_tables_stand_in_columns() -> None:
    assert list(plain_table([["a", "bb", "c"], ["aaa", "b", ""]])) == ["a    bb  c", "aaa  b"]


def test_figures() -> None:
    assert number(0.98765) == "0.988" and number(math.nan) == "–"
    assert whole(1234.5) == "1234" and whole(math.nan) == "–"
    assert interval((0.5, 1.0)) == "0.500 – 1.000" and interval((math.nan, math.nan)) == "–"
    assert mean_and_spread([]) == "–" and mean_and_spread([0.25], signed=True) == "+0.250"
    assert mean_and_spread([1.0, 3.0]) == "2.000 ± 1.414"
    assert flat({"a": 1, "b": {"c": "x|y"}}) == "a 1, b c x|y"
