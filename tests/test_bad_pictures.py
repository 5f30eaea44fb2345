"""The corpus of good and bad pictures through training, evaluation, prediction and deployment."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soak
from corpus import Case, write_corpus

from ppcls_sspcab.cli import main as cli
from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.data.datasets.folder import FolderDataset
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.errors import DataError
from ppcls_sspcab.image.decode import decode
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.runtime import command
from ppcls_sspcab.runtime.card import InferenceCard
from ppcls_sspcab.runtime.predictor import BACKENDS, Predictor

SIZE = (32, 32)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Case]]:
    folder = tmp_path_factory.mktemp("corpus") / "line" / "good"
    return folder, write_corpus(folder)


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, corpus: tuple[Path, list[Case]]
) -> tuple[Path, Path]:
    """A configuration trained on the corpus itself, what cannot be read left out; the export."""
    folder, cases = corpus
    place = tmp_path_factory.mktemp("trained")
    text = soak.CONFIG.replace("DATA", str(folder.parents[1])).replace("OUTPUT", str(place / "o"))
    config = place / "corpus.yaml"
    config.write_text(text.replace("category: all", "category: line, on_error: skip"))
    dataset = ["-o", "DataLoader.Train.dataset.name=FolderDataset", "-o", "Global.epochs=1"]
    words = ["-c", str(config), *dataset]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(soak.HERE))
        assert cli.main(["train", *words]) == 0
        assert cli.main(["export", *words, "--format", "paddle,onnx"]) == 0
    output = load_config(config).folder.root
    log = (output / "train.log").read_bytes().decode("utf-8", "surrogateescape")
    held = FolderDataset(str(folder.parents[1]), "line")
    trained_on = {Path(sample.path).name for sample in held.train}
    for case in cases:
        if case.name in trained_on:
            assert (f"skipped {folder / case.name}: " in log) == (case.pixels is None), case.name
    return config, output / "inference"


def test_every_picture_is_read_rightly_or_refused_by_name(
    corpus: tuple[Path, list[Case]],
) -> None:
    folder, cases = corpus
    for case in cases:
        path = str(folder / case.name)
        if case.pixels is None:
            with pytest.raises(DataError) as caught:
                decode(path)
            assert str(caught.value).startswith(f"{path}: ") and case.reason in str(caught.value)
        else:
            np.testing.assert_array_equal(decode(path), case.pixels, err_msg=case.name)


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_a_data_set_of_the_corpus(corpus: tuple[Path, list[Case]], on_error: str) -> None:
    folder, cases = corpus
    dataset = FolderDataset(str(folder.parents[1]), "line", test_share=0.0)
    assert {Path(sample.path).name for sample in dataset.train} == {case.name for case in cases}
    store = ImageStore(dataset.train, Preprocess(SIZE, white="full"), 1 << 30, on_error)
    bad = {str(folder / case.name) for case in cases if case.pixels is None}
    if on_error == "stop":
        with pytest.raises(DataError) as caught:
            store.warm(2)
        assert str(caught.value).split(": ")[0] in bad
    else:
        store.warm(2)
        assert {path for path, _ in store.skipped} == bad
        assert len(store) == len(cases) - len(bad)


def check(lines: list[str], folder: Path, cases: list[Case], model: Path) -> None:
    """A record a file: the score of its pixels, or an error; whatever the file's name is."""
    records = {record["path"]: record for record in map(json.loads, lines)}
    assert len(records) == len(lines) == len(cases)
    readable = [case for case in cases if case.pixels is not None]
    expected = Predictor(model, backend="onnx").predict([case.pixels for case in readable])
    for case, right in zip(readable, expected, strict=True):
        found = records[str(folder / case.name)]
        assert found["score"] == pytest.approx(right.score, rel=1e-3), case.name
        assert np.isfinite(found["normalized_score"])
    for case in cases:
        if case.pixels is None:
            assert case.reason in records[str(folder / case.name)]["error"]


def lines_of(path: Path) -> list[str]:
    return path.read_bytes().decode("utf-8", "surrogateescape").splitlines()


@pytest.mark.slow
def test_predict_and_deploy_go_on_behind_a_bad_picture(
    corpus: tuple[Path, list[Case]], trained: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, cases = corpus
    config, model = trained
    output = tmp_path / "records.jsonl"
    words = ["predict", "-c", str(config), str(folder), "--output", str(output)]
    assert cli.main(words) == 0
    check(lines_of(output), folder, cases, model)
    for backend in BACKENDS:
        words = ["--model", str(model), "--backend", backend, str(folder)]
        assert command.main([*words, "--output", str(output), "--batch-size", "4"]) == 0
        check(lines_of(output), folder, cases, model)
        table = ["--format", "csv"]
        assert command.main([*words, "--output", str(output), *table]) == 0


@pytest.mark.slow
def test_evaluating_stands_any_name(
    trained: tuple[Path, Path],
) -> None:
    config, model = trained
    dataset = ["-o", "DataLoader.Train.dataset.name=FolderDataset"]
    assert cli.main(["eval", "-c", str(config), *dataset, "--report"]) == 0
    with (model.parent / "results.csv").open(
        encoding="utf-8", errors="surrogateescape", newline=""
    ) as stream:
        scores = [float(row["score"]) for row in csv.DictReader(stream)]
    assert scores and np.isfinite(scores).all()


@pytest.mark.slow
def test_calibrate_names_the_file_and_changes_nothing_or_leaves_it_out(
    corpus: tuple[Path, list[Case]],
    trained: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, cases = corpus
    _, model = trained
    card = InferenceCard.read(model)
    new_to_it = {**card.detector, "trained_on": [], "fitted_to": []}
    dataclasses.replace(card, detector=new_to_it).write(model)
    before = (model / "inference.yml").read_bytes()
    words = ["calibrate", "--model", str(model), "--good", str(folder), "--backend", "onnx"]
    capsys.readouterr()
    assert cli.main(words) == 2
    (line,) = [text for text in capsys.readouterr().err.splitlines() if "error: " in text]
    assert any(case.name in line for case in cases if case.pixels is None)
    assert (model / "inference.yml").read_bytes() == before
    assert cli.main([*words, "--on-error", "skip"]) == 0
    calibration = InferenceCard.read(model).detector["calibration"]
    # Each content counts once.
    readable = [folder / case.name for case in cases if case.pixels is not None]
    assert calibration["pictures"] == len({path.read_bytes() for path in readable})


def test_a_bad_name_in_an_error_stays_on_one_line(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, model = trained
    name = f"{tmp_path}{os.sep}line\nfeed.png"
    assert command.main(["--model", str(model), name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "line\\nfeed.png" in line
