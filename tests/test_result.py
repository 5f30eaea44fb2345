import csv
import io
import json
import math

import numpy as np
import pytest

from ppcls_sspcab.result import Failure, Result, judge, opened, without_map, write_records
from ppcls_sspcab.utils.table import csv_table

GOOD = Result("teile/gut ü,1.png", 1.5, 0.25, 2.0, False)
BAD = Result("bad.png", 3.0, 0.75, 2.0, True)
BROKEN = Failure("broken.png", 'cannot be read ("eof")')


def written(form, records=(GOOD, BAD, BROKEN)):
    stream = io.StringIO()
    assert list(write_records(records, stream, form)) == list(records)
    return stream.getvalue()


def test_json_lines_read_back():
    lines = [json.loads(line) for line in written("jsonl").splitlines()]
    assert lines[0] == {
        "path": "teile/gut ü,1.png",
        "score": 1.5,
        "normalized_score": 0.25,
        "threshold": 2.0,
        "is_anomaly": False,
    }
    assert lines[1]["is_anomaly"] is True
    assert lines[2] == {"path": "broken.png", "error": 'cannot be read ("eof")'}


def test_csv_reads_back():
    rows = list(csv.DictReader(io.StringIO(written("csv"))))
    assert rows[0]["path"] == GOOD.path
    assert [row["is_anomaly"] for row in rows] == ["false", "true", ""]
    assert float(rows[1]["score"]) == 3.0
    assert [row["error"] for row in rows] == ["", "", BROKEN.error]


@pytest.mark.parametrize("name", ['=cmd|"/c calc"!A1.png', "+1.png", "-2+3.png", "@SUM(1).png"])
def test_a_name_is_no_formula_in_a_csv(name):
    record = Result(name, -1.5, 0.25, 2.0, False)
    (row,) = csv.DictReader(io.StringIO(written("csv", [record])))
    assert row["path"] == "'" + name
    assert row["score"] == "-1.5"
    assert csv_table(["defect"], [{"defect": name}]).splitlines()[1].lstrip('"').startswith("'")
    assert json.loads(record.to_json())["path"] == name


@pytest.mark.parametrize("character", ["\n", "\x1b", "\x9b", "\x7f", "\u2028"])
def test_a_name_neither_drives_a_terminal_nor_begins_a_line(character):
    record = Failure(f"a{character}[2Jb.png", "is empty")
    for form in ("jsonl", "csv"):
        text = written(form, [record])
        assert text.replace("\n", "").isprintable()
        assert len(text.splitlines()) == (1 if form == "jsonl" else 2)
    assert json.loads(record.to_json())["path"] == record.path


def test_a_path_that_is_no_utf8_is_written_all_the_same(tmp_path):
    odd = Failure(b"caf\xe9.png".decode("utf-8", "surrogateescape"), "is empty")
    assert json.loads(odd.to_json())["path"] == odd.path
    odd.to_json().encode("utf-8")
    with opened(tmp_path / "out.csv") as stream:
        list(write_records([odd], stream, "csv"))
    assert b"caf\xe9.png" in (tmp_path / "out.csv").read_bytes()


def test_a_record_is_written_before_the_next_is_made():
    stream = io.StringIO()

    def records():
        yield GOOD
        assert stream.getvalue() == GOOD.to_json() + "\n"
        yield BAD

    assert len(list(write_records(records(), stream))) == 2


def test_an_interrupted_run_keeps_its_records_under_another_name(tmp_path):
    path = tmp_path / "out.jsonl"
    with pytest.raises(RuntimeError), opened(path):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    path.write_text("of an earlier run")
    with pytest.raises(KeyboardInterrupt), opened(path) as stream:
        stream.write("half")
        raise KeyboardInterrupt
    assert path.read_text() == "of an earlier run"
    assert (tmp_path / "out.jsonl.part").read_text() == "half"
    with opened(path) as stream:
        stream.write("whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_judge_agrees_with_its_formula():
    for score in (-3.0, 1.999999, 2.0, 2.000001, 50.0):
        record = judge("a.png", score, 2.0, 0.5)
        deviation = (score - 2.0) / 0.5
        assert record.normalized_score == pytest.approx(
            0.5 + 0.5 * deviation / (1 + abs(deviation))
        )
        assert record.is_anomaly == (score > 2.0) == (record.normalized_score > 0.5)


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_number_never_passes_for_good(score):
    assert isinstance(judge("a.png", score, 2.0, 0.5), Failure)


def test_a_map_is_no_part_of_records_equality_or_repr():
    with_map = judge("a.png", 3.0, 2.0, 0.5, np.full((2, 3), 0.7, np.float32))
    without = judge("a.png", 3.0, 2.0, 0.5)
    assert with_map == without and hash(with_map) == hash(without)
    assert repr(with_map) == repr(without)
    for form in ("jsonl", "csv"):
        assert written(form, [with_map]) == written(form, [without])
    assert with_map.map.shape == (2, 3)
    assert without_map(with_map).map is None
    assert without_map(BROKEN) is BROKEN
