"""The Python API: the same numbers as the command line, by the same engine, and its own page."""

from __future__ import annotations

import ast
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import ppcls_sspcab as ad
from ppcls_sspcab.cli.main import main

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "api.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, demo_root: Path) -> dict:
    """A configuration of two steps at 32 pixels on generated pictures, as a mapping."""
    output = tmp_path_factory.mktemp("api") / "output"
    return {
        "_BASE_": "demo.yaml",
        "Global": {
            "data_root": str(demo_root),
            "category": "gasket",
            "output_dir": str(output),
            "epochs": 1,
            "iter_per_epoch": 2,
            "device": "cpu",
        },
        "Preprocess": {"image_size": [32, 32]},
        "DataLoader": {"Train": {"sampler": {"batch_size": 4}}},
    }


@pytest.fixture(scope="module")
def detector(small: dict):
    return ad.train(small)


@pytest.fixture(scope="module")
def file(small: dict, detector) -> Path:
    return Path(small["Global"]["output_dir"]) / "gasket" / "detector.safetensors"


@pytest.fixture(scope="module")
def pictures(demo_root: Path) -> list[str]:
    return sorted(map(str, (demo_root / "gasket" / "test").rglob("*.png")))


@pytest.fixture
def yaml_file(small: dict, tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps(small))  # JSON is YAML
    return path


def predicted(words: list[str], tmp_path: Path) -> list[dict]:
    """The records that the command line writes."""
    output = tmp_path / "records.jsonl"
    assert main(["predict", *words, "--output", str(output)]) == 0
    return [json.loads(line) for line in output.read_text().splitlines()]


def test_importing_loads_neither_paddle_nor_numpy() -> None:
    code = (
        "import sys, ppcls_sspcab as ad; assert set(ad.__all__) <= set(dir(ad)); "
        "print(sorted({'paddle', 'numpy', 'yaml', 'pydantic', 'PIL'} & set(sys.modules))); "
        "ad.Predictor, ad.Result, ad.Failure, ad.load_config; print('paddle' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "False"]


def test_every_name_is_there_and_none_is_a_room() -> None:
    for name in ad.__all__:
        assert getattr(ad, name) is not None
    # Importing a room binds its name in the package, and would hide a function of that name.
    assert not set(ad.__all__) & {module.name for module in pkgutil.iter_modules(ad.__path__)}
    with pytest.raises(AttributeError, match="'trian'"):
        ad.trian  # noqa: B018 - what Python says of a name that is not there


@pytest.mark.slow
def test_training_gives_what_the_command_line_gives(
    file: Path, yaml_file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    assert main(["train", "-c", str(yaml_file), "-o", f"Global.output_dir={other}"]) == 0
    ours, theirs = load_file(file), load_file(other / "gasket" / "detector.safetensors")
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], name)


@pytest.mark.slow
def test_scores_are_those_of_the_command_line_bit_for_bit(
    detector, file: Path, yaml_file: Path, pictures: list[str], tmp_path: Path
) -> None:
    ours = [json.loads(record.to_json()) for record in detector.predict(pictures, batch_size=32)]
    assert [record["path"] for record in ours] == pictures
    by_yaml = predicted(["-c", str(yaml_file), *pictures], tmp_path)
    by_both = predicted(["-c", str(yaml_file), "--detector", str(file), *pictures], tmp_path)
    assert ours == by_yaml == by_both
    alone = [json.loads(record.to_json()) for record in ad.load_detector(file).predict(pictures)]
    assert alone == predicted(["--detector", str(file), *pictures], tmp_path)


@pytest.mark.slow
def test_a_single_picture_is_a_list_of_one(detector, pictures: list[str]) -> None:
    path = Path(pictures[0])
    with Image.open(path) as image:
        rgb = np.array(image.convert("RGB"))
    found = [detector.predict(one) for one in (path, path.read_bytes(), rgb)]
    assert [len(records) for records in found] == [1, 1, 1]
    assert len({records[0].score for records in found}) == 1
    assert len(detector.predict(np.stack([rgb] * 3))) == 3
    assert detector.predict([]) == []


@pytest.mark.slow
def test_a_result_has_the_map_of_the_forward(detector, pictures: list[str]) -> None:
    import paddle

    (record,) = detector.predict(pictures[0])
    with paddle.no_grad():
        images = paddle.to_tensor(detector.card.preprocess(pictures[0]))
        _, raw = detector.parts(detector.features(images))
    deviation = (raw[0].numpy() - float(detector.pixel_threshold)) / float(detector.pixel_scale)
    expected = 0.5 + 0.5 * deviation / (1 + np.abs(deviation))
    assert (record.map.dtype, record.map.shape) == (np.float32, (32, 32))
    np.testing.assert_allclose(record.map, expected, atol=1e-3)
    (without,) = detector.predict(pictures[0], maps=False)
    assert without.map is None and without == record
    assert "map" not in repr(record) and "map" not in json.loads(record.to_json())


@pytest.mark.slow
def test_unreadable_pictures_are_failures_and_the_rest_goes_on(
    detector, pictures: list[str]
) -> None:
    records = detector.predict([pictures[0], "absent.png", 7], batch_size=2)
    assert [type(record) for record in records] == [ad.Result, ad.Failure, ad.Failure]
    with pytest.raises(ValueError, match="batch_size"):
        detector.predict(pictures, batch_size=0)


@pytest.mark.slow
def test_evaluating_gives_what_the_command_line_writes(
    detector, file: Path, small: dict, yaml_file: Path
) -> None:
    ours = ad.evaluate(small, detector=detector)
    written = file.with_name("results.json")
    written.unlink()
    assert main(["eval", "-c", str(yaml_file)]) == 0
    assert json.loads(json.dumps(ours.to_dict())) == json.loads(written.read_text())
    assert ad.evaluate(small, detector=file).records == ours.records


@pytest.mark.slow
def test_the_detector_given_is_the_one_measured(detector, file: Path, small: dict) -> None:
    other = ad.load_detector(file)
    other.threshold.set_value(np.full((), -1e9, np.float32))  # every score is above
    assert ad.evaluate(small, detector=other).false_alarm_rate == 1
    assert ad.evaluate(small).threshold == float(detector.threshold)


@pytest.mark.slow
def test_an_export_scores_as_the_detector_does(
    detector, small: dict, pictures: list[str], tmp_path: Path
) -> None:
    expected = detector.predict(pictures)
    given = ad.export(detector, folder=tmp_path / "given", formats=["paddle", "onnx"])
    by_config = ad.export(small, ["Global.seed=3"], folder=tmp_path / "own")
    assert (given, by_config) == (tmp_path / "given", tmp_path / "own")
    for folder, backend in ((given, "onnx"), (given, "paddle"), (by_config, "paddle")):
        found = ad.Predictor(folder, backend=backend, threads=1).predict(pictures)
        assert [record.is_anomaly for record in found] == [one.is_anomaly for one in expected]
        np.testing.assert_allclose(
            [record.score for record in found], [one.score for one in expected], rtol=1e-3
        )
        for record, one in zip(found, expected, strict=True):
            np.testing.assert_allclose(record.map, one.map, atol=1e-3)


@pytest.mark.slow
def test_all_categories_give_a_list(small: dict, tmp_path: Path) -> None:
    untrained = {"Global.category": "all", "Global.epochs": 0, "Localize": None}
    untrained |= {"Global.output_dir": str(tmp_path), "Score": {"name": "embedding"}}
    found = ad.train(small, untrained)
    assert [detector.card.category for detector in found] == ["gasket", "mesh"]
    with pytest.raises(ad.UserError, match="one category's"):
        ad.evaluate(small, untrained, detector=found[0])


@pytest.mark.slow
def test_mistakes_are_one_line(detector, file: Path, small: dict, tmp_path: Path) -> None:
    calls = [
        lambda: ad.load_config(tmp_path / "absent.yaml"),
        lambda: ad.train(small, {"Global.sed": 1}),
        lambda: ad.train(small, ["Global.data_root=/nowhere"]),
        lambda: ad.load_detector(tmp_path / "absent.safetensors"),
        lambda: ad.evaluate(small, {"Global.output_dir": str(tmp_path)}),
        lambda: ad.export(detector),
        lambda: ad.export(detector, folder=tmp_path / "model", int8_max_drop=1.0),
        lambda: ad.Predictor(tmp_path),
    ]
    for call in calls:
        with pytest.raises(ad.UserError) as error:
            call()
        assert len(str(error.value).splitlines()) == 1


@pytest.mark.slow
def test_predicting_without_a_detector_is_said_in_one_line(
    file: Path, pictures: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ([pictures[0]], ["--detector", str(file), "-o", "Global.seed=1", pictures[0]]):
        assert main(["predict", *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and "-c" in line and "--detector" in line


@pytest.mark.slow
def test_the_page_runs(
    small: dict, demo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    housing = tmp_path / "parts" / "housing"
    housing.mkdir(parents=True)
    (housing / "good").symlink_to(demo_root / "gasket" / "train" / "good")
    (housing / "bad").symlink_to(demo_root / "gasket" / "test" / "scratch")
    dataset = {"name": "FolderDataset", "bad_dir": "bad"}
    own = {"data_root": "parts", "category": "housing", "output_dir": "output"}
    loaders = {"Train": {"sampler": {"batch_size": 4}, "dataset": dataset}}
    config = small | {"Global": small["Global"] | own, "DataLoader": loaders}
    (tmp_path / "housing.yaml").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(blocks) == 10
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/api.md", "exec"), names)
    assert (tmp_path / "output" / "housing" / "results.md").is_file()


def test_the_page_has_every_name_with_its_signature() -> None:
    from ppcls_sspcab.detector.detector import Detector

    owners = {"ad": ad, "detector": Detector, "predictor": ad.Predictor}
    headings = re.findall(r"^##+ `((\w+)\.(\w+))(\(.*\))`$", PAGE, re.M)
    assert len(headings) == 10
    for full, owner, name, text in headings:
        (definition,) = ast.parse(f"def {name}{text}: ...").body
        assert isinstance(definition, ast.FunctionDef)
        wanted = [
            (part.name, part.kind, part.default)
            for part in inspect.signature(getattr(owners[owner], name)).parameters.values()
            if part.name != "self"
        ]
        scope: dict[str, object] = {}
        exec(compile(ast.Module([definition], []), full, "exec"), scope)
        found = inspect.signature(scope[name]).parameters.values()  # type: ignore[arg-type]
        assert [(part.name, part.kind, part.default) for part in found] == wanted, full
    for name in ad.__all__:
        assert name == "__version__" or f"`ad.{name}" in PAGE
