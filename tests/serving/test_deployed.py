"""The files of ``deploy/serving``, and the command as a container runs it."""

from __future__ import annotations

import argparse
import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import onnx
import pytest
import yaml
from served import PREPROCESS, Brightness, Process, picture

from ppcls_sspcab.detector.card import DetectorCard
from ppcls_sspcab.exporting.export import export_detector
from ppcls_sspcab.serving.options import add_options

FOREIGN = ("--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs")
DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "serving"


def parsed(words: list[str]) -> argparse.Namespace:
    """The options as the command reads them; SystemExit for one that it has not."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(words)


def test_dockerfile_compose_and_unit_give_options_that_the_command_has() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    entry, command = (
        json.loads(re.search(rf"^{word} (\[.*\])$", text, re.MULTILINE)[1])  # type: ignore[index]
        for word in ("ENTRYPOINT", "CMD")
    )
    assert entry[:2] == ["ppcls-sspcab", "serve"]
    options = parsed([*entry[2:], *command])
    assert options.host == "0.0.0.0"
    assert options.token_file is not None
    assert re.search(r"^USER 10001$", text, re.MULTILINE)

    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    inspection = compose["services"]["inspection"]
    options = parsed([*entry[2:], *inspection["command"]])
    assert options.database.startswith("postgresql://")
    assert options.token_file is not None
    assert inspection["read_only"] is True
    assert inspection["build"]["dockerfile"] == "deploy/serving/Dockerfile"
    mounted = {volume.split(":")[1] for volume in inspection["volumes"]}
    assert {str(options.token_file), inspection["environment"]["PGPASSFILE"]} <= mounted

    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / "ppcls-sspcab.service", encoding="utf-8")
    words = shlex.split(unit["Service"]["ExecStart"])
    assert words[1] == "serve"
    options = parsed(words[2:])
    state = "/var/lib/" + unit["Service"]["StateDirectory"]
    assert options.database == f"sqlite:///{state}/inspections.db"
    assert str(options.store).startswith(state)


def test_tritons_configuration_names_the_models_inputs_and_outputs(tmp_path: Path) -> None:
    card = DetectorCard(arch={}, density={}, preprocess=PREPROCESS, category="lamp")
    folder = export_detector(Brightness(), card, tmp_path / "model", ["onnx"], "uint8")
    graph = onnx.load(str(folder / "model.onnx")).graph
    types = {onnx.TensorProto.UINT8: "TYPE_UINT8", onnx.TensorProto.FLOAT: "TYPE_FP32"}
    expected = {
        value.name: (types[value.type.tensor_type.elem_type], len(value.type.tensor_type.shape.dim))
        for value in [*graph.input, *graph.output]
    }
    text = (DEPLOY / "triton" / "config.pbtxt").read_text(encoding="utf-8")
    pattern = r'name: "(\w+)" data_type: (\w+) dims: \[([^\]]*)\](.*)\}'
    found = {
        name: (kind, 1 if "reshape" in rest else 1 + len(dims.split(",")))
        for name, kind, dims, rest in re.findall(pattern, text)
    }
    assert found == expected


@pytest.mark.slow
def test_as_a_foreign_user_on_a_read_only_root_without_a_home(model: Path, tmp_path: Path) -> None:
    if (
        os.name != "posix"
        or os.geteuid() != 0
        or not all(map(shutil.which, ("unshare", "setpriv")))
    ):
        pytest.skip("only root can change the user and mount (needs unshare and setpriv)")
    trial = ["unshare", "--mount", "mount", "-o", "remount,ro,bind", "/"]
    if subprocess.run(trial, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount")
    trial = ["setpriv", *FOREIGN, sys.executable, "-c", "import encodings"]
    if subprocess.run(trial, capture_output=True, check=False).returncode:
        pytest.skip("this Python lies where a foreign user may not read")
    for path in [tmp_path, *tmp_path.parents]:
        if path != Path("/tmp") and path != Path("/"):
            path.chmod(0o755)
    for path in [model, *model.parents[:2], *model.iterdir()]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, 65534, 65534)
    start = tmp_path / "start.sh"
    python = shlex.quote(sys.executable)
    start.write_text(
        "set -e\n"
        f"mount --bind {data} {data}\n"
        "mount -o remount,ro,bind /\n"
        f"cd {data}\n"
        f"exec setpriv {' '.join(FOREIGN)} "
        f'{python} -m ppcls_sspcab serve "$@"\n',
        encoding="utf-8",
    )
    words = ["--model", f"lamp={model}", "--backend", "onnx", "--store", str(data / "pictures")]
    words += ["--keep", "all", "--database", f"sqlite:///{data / 'rows.db'}"]
    command = ["unshare", "--mount", "sh", str(start)]
    environment = {"HOME": "/nonexistent", "TMPDIR": str(data)}
    environment["PYTHONPATH"] = str(DEPLOY.parents[1])
    with Process(tmp_path, words, command, **environment) as served:
        served.wait_until_ready()
        assert httpx.get(f"{served.url}/v1/models").status_code == 200
        answer = httpx.post(f"{served.url}/v1/models/lamp/predict", content=picture(9), timeout=30)
        assert answer.status_code == 200
        assert httpx.get(f"{served.url}/v1/inspections/export.parquet").status_code == 200
        assert os.stat(data / "rows.db").st_uid == 65534
        served.process.terminate()
        assert served.process.wait(30) == 0
