"""Results: numbers against scikit-learn, files read back, gaps kept as gaps."""

import csv
import dataclasses
import json
import math

import numpy as np
import pytest
from sklearn import metrics as sk

from ppcls_sspcab.errors import DataError, ModelError
from ppcls_sspcab.evaluation.plots import write_plots
from ppcls_sspcab.evaluation.results import COLUMNS, evaluate_scores
from ppcls_sspcab.evaluation.tables import (
    mean_values,
    summary_table,
    threshold_rows,
    to_markdown,
    write_results,
)
from ppcls_sspcab.paths import RunFolder

THRESHOLD = 24.0
PROTOCOL = {"category": "bottle", "seed": 7, "steps": 256, "versions": {"paddle": "3.3.1"}}


def records(defects=("good", "good", "scratch", "hole"), count=60, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        defect = defects[number % len(defects)]
        label = int(defect != "good")
        score = float(20 + 2 * rng.standard_normal() + label * rng.exponential(10))
        rows.append(
            {
                "path": f"test/{defect}/{number:03d}.png",
                "label": label,
                "defect": defect,
                "score": score,
                "normalized_score": 0.5 + 0.5 * (score - THRESHOLD) / (1 + abs(score - THRESHOLD)),
                "is_anomaly": score > THRESHOLD,
            }
        )
    return rows


def evaluate(rows, protocol=PROTOCOL, **arguments):
    return evaluate_scores(rows, THRESHOLD, seed=0, protocol=protocol, **arguments)


def test_numbers_are_those_of_scikit_learn():
    rows = records()
    results = evaluate(rows)
    labels = [row["label"] for row in rows]
    scores = [row["score"] for row in rows]
    calls = [row["is_anomaly"] for row in rows]
    tn, fp, fn, tp = sk.confusion_matrix(labels, calls).ravel()
    assert results.image_auroc == pytest.approx(sk.roc_auc_score(labels, scores))
    assert results.image_aupr == pytest.approx(sk.average_precision_score(labels, scores))
    assert results.f1 == pytest.approx(sk.f1_score(labels, calls))
    assert results.f1_max >= results.f1
    assert results.false_alarm_rate == pytest.approx(fp / (fp + tn))
    assert results.detection_rate == pytest.approx(tp / (tp + fn))
    assert results.accuracy == pytest.approx((tp + tn) / len(rows))
    assert results.counts == {
        "pictures": 60,
        "good": 30,
        "bad": 30,
        "false_alarms": fp,
        "missed": fn,
    }
    for name, (low, high) in results.intervals.items():
        assert low <= getattr(results, name) <= high


def test_each_defect_is_measured_against_all_good_pictures():
    rows = records()
    results = evaluate(rows)
    assert list(results.per_defect) == ["hole", "scratch"]
    part = [row for row in rows if row["defect"] in ("good", "hole")]
    hole = results.per_defect["hole"]
    expected = sk.roc_auc_score([r["label"] for r in part], [r["score"] for r in part])
    assert hole.image_auroc == pytest.approx(expected)
    assert hole.count == 15
    assert hole.detected == sum(r["is_anomaly"] for r in part if r["label"])
    assert hole.detection_rate == pytest.approx(hole.detected / 15)


def test_the_files_hold_the_results(tmp_path):
    rows = records()
    results = evaluate(rows)
    write_results(results, RunFolder(str(tmp_path), "bottle"))
    found = json.loads((tmp_path / "bottle" / "results.json").read_text("utf-8"))
    for name in ("image_auroc", "image_aupr", "f1", "false_alarm_rate", "detection_rate"):
        assert found[name] == getattr(results, name)
        assert found["intervals"][name] == list(results.intervals[name])
    assert found["protocol"] == PROTOCOL
    assert found["per_defect"]["scratch"]["count"] == 15
    with (tmp_path / "bottle" / "results.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert tuple(table[0]) == COLUMNS
    assert [row["path"] for row in table] == [row["path"] for row in rows]
    assert [float(row["score"]) for row in table] == [row["score"] for row in rows]
    assert {row["is_anomaly"] for row in table} == {"True", "False"}
    assert sorted(path.name for path in (tmp_path / "bottle").iterdir()) == [
        "results.csv",
        "results.json",
        "results.md",
    ]


def test_the_same_scores_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_results(evaluate(records()), RunFolder(str(tmp_path), name))
    for file in ("results.json", "results.csv", "results.md"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("defect", ["good", "scratch"])
def test_one_kind_of_pictures_leaves_gaps(defect, tmp_path):
    results = evaluate(records((defect,), count=3))
    write_results(results, RunFolder(str(tmp_path), "bottle"))
    found = json.loads((tmp_path / "bottle" / "results.json").read_text("utf-8"))
    assert found["image_auroc"] is None
    assert found["intervals"]["image_auroc"] == [None, None]
    assert (found["detection_rate"] is None) == (defect == "good")
    assert (found["false_alarm_rate"] is None) == (defect != "good")
    said = to_markdown(results)
    first = [line.split(" | ")[0].strip("| ") for line in said.splitlines()]
    rates = {"good": "false-alarm rate", "scratch": "detection rate"}
    assert rates.pop(defect) in first
    assert not {"image AUROC", "F1", "accuracy", *rates.values()} & set(first)
    if defect == "good":
        assert "3 test pictures, all good." in said and "missed" not in said
        assert "How many defects are found is not known" in said
    else:
        assert "3 test pictures, all bad." in said and "false" not in said


def test_good_pictures_alone_are_judged_by_synthetic_defects(tmp_path):
    known = {"image_score": "map_max", "image_score_auroc_on_synthetic_defects": {"map_max": 0.87}}
    results = evaluate(records(("good",), count=24), {**PROTOCOL, **known})
    assert "on synthetic defects" in to_markdown(results).lower()
    assert "its AUROC is 0.870" in to_markdown(results)
    low, high = results.intervals["false_alarm_rate"]
    assert f"(95 %: {low:.1%} to {high:.1%} of new good pictures)" in to_markdown(results)
    folder = RunFolder(str(tmp_path), "bottle")
    folder.plots.mkdir(parents=True)
    (folder.plots / "roc.png").touch()
    embeddings = np.random.default_rng(0).normal(size=(24, 4))
    names = {path.name for path in write_plots(results, embeddings, folder)}
    assert names == {path.name for path in folder.plots.iterdir()}
    assert "roc.png" not in names


def test_a_perfect_result_on_few_pictures_says_how_little_is_known():
    rows = [row for row in records(count=40) if bool(row["label"]) == row["is_anomaly"]]
    rows = [row for row in rows if not row["label"] or row["score"] > 26]
    results = evaluate(rows)
    assert results.image_auroc == 1 and results.f1 == 1
    low, high = results.intervals["image_auroc"]
    assert low < 0.95 and high == 1
    assert math.isnan(results.intervals["f1"][0])
    assert "1.000 – 1.000" not in to_markdown(results)


def test_no_alarm_in_few_pictures_is_no_certainty():
    rows = [row for row in records() if row["label"] or row["score"] < THRESHOLD]
    results = evaluate(rows)
    good = results.counts["good"]
    assert results.false_alarm_rate == 0
    low, high = results.intervals["false_alarm_rate"]
    assert low == 0
    # The largest rate at which seeing none is still as likely as 2.5 %.
    assert (1 - high) ** good == pytest.approx(0.025)


def test_markdown_says_what_people_ask_first():
    rows = records(("good", "bent|wire"))
    text = to_markdown(evaluate(rows))
    assert text.startswith("# bottle\n\n60 test pictures, 30 good and 30 bad.")
    assert "bent\\|wire" in text
    assert "paddle 3.3.1" in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 4
    for table in tables:
        assert len({line.replace("\\|", "").count("|") for line in table}) == 1


def test_the_table_of_thresholds_is_what_counting_gives():
    results = evaluate(records(count=200))
    rows = threshold_rows(results)
    thresholds = [float(row[0]) for row in rows]
    assert thresholds == sorted(thresholds)
    good = [row["score"] for row in results.records if not row["label"]]
    bad = [row["score"] for row in results.records if row["label"]]
    for threshold, (_, alarms, _, hits, _, _) in zip(thresholds, rows, strict=True):
        # As printed, so that what a user copies from the table does what the table says.
        assert alarms == f"{sum(score > threshold for score in good)} of 100"
        assert hits == f"{sum(score > threshold for score in bad)} of 100"
    counts = {int(row[1].split()[0]) for row in rows}
    assert {0, 1, 2, 5, 10, 20} <= counts
    assert {90, 95, 100} <= {int(row[3].split()[0]) for row in rows}
    assert [row[0] for row in rows if row[5] == "in use"] == ["24"]
    assert "in use" in to_markdown(results)


@pytest.mark.parametrize("kinds", [("good",), ("scratch",)])
def test_without_both_kinds_there_is_no_table_of_thresholds(kinds):
    assert threshold_rows(evaluate(records(kinds))) == []


def test_equal_scores_still_give_a_table_of_thresholds():
    rows = [{**row, "score": 0.0, "is_anomaly": False} for row in records(count=8)]
    cells = threshold_rows(evaluate_scores(rows, 0.0, seed=0, protocol={}))
    assert [row[1] for row in cells] == ["4 of 4", "0 of 4", "0 of 4"]


def test_a_metric_of_one_s_own_joins_by_name():
    def gap(labels, scores):
        return float(np.median(scores[labels == 1]) - np.median(scores[labels == 0]))

    rows = records()
    results = evaluate(rows, metrics={"gap": gap})
    bad = np.median([row["score"] for row in rows if row["label"]])
    good = np.median([row["score"] for row in rows if not row["label"]])
    assert results.metrics["gap"] == pytest.approx(bad - good)
    low, high = results.intervals["gap"]
    assert low < results.metrics["gap"] < high
    assert "| gap " in to_markdown(results)


def test_broken_records_are_refused():
    with pytest.raises(DataError, match="no test pictures"):
        evaluate([])
    rows = records()
    rows[3]["score"] = math.nan
    with pytest.raises(ModelError, match=r"1 of 60 .* test/hole/003\.png"):
        evaluate(rows)


def test_the_mean_row_skips_what_has_no_meaning():
    bottle = evaluate(records())
    tile = evaluate(records(seed=3), PROTOCOL | {"category": "tile"})
    wood = evaluate(records(("good",)), PROTOCOL | {"category": "wood"})
    means = mean_values([bottle, tile, wood])
    assert means["image_auroc"] == pytest.approx((bottle.image_auroc + tile.image_auroc) / 2)
    rates = [result.false_alarm_rate for result in (bottle, tile, wood)]
    assert means["false_alarm_rate"] == pytest.approx(sum(rates) / 3)
    lines = summary_table([bottle, tile, wood]).splitlines()
    assert [line.split()[1] for line in lines[2:]] == ["bottle", "tile", "wood", "**mean**"]
    assert f"**{means['image_auroc']:.3f}**" in lines[-1]
    assert math.isnan(mean_values([wood])["image_auroc"])


def test_results_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        evaluate(records()).image_auroc = 1.0
