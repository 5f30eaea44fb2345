"""The wheel, alone: built, installed into an environment of its own, run far from the checkout."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from environments import environment_of, site_packages

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow

OWN = """
_BASE_: cutpaste_sspcab_cpu.yaml
Global: {data_root: DATA, category: gasket, output_dir: output, epochs: 1, iter_per_epoch: 2}
Preprocess: {image_size: [32, 32]}
Arch: {pretrained: false, freeze: null, untrained: null}
DataLoader:
  Train: {sampler: {batch_size: 2}, loader: {num_workers: 0}}
"""


def run(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A program that does not know this process's modules."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done


def install(wheel: Path, environment: Path) -> None:
    words = ["--no-deps", "--no-index", "--quiet", wheel]
    python = environment / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", *words, cwd=wheel.parent)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ``python -m build`` makes it: from the source archive, not from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of an environment with the wheel; the libraries are this environment's."""
    environment = tmp_path_factory.mktemp("environment") / "venv"
    venv.EnvBuilder(symlinks=True, with_pip=False).create(environment)
    install(wheel, environment)
    # A path, not a site folder: what an editable install put there is not followed.
    libraries = "\n".join([*site.getsitepackages(), ""])
    (site_packages(environment) / "libraries.pth").write_text(libraries)
    return environment / "bin"


@pytest.fixture(scope="module")
def trained(installed: Path, demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder, in which a YAML of two steps was trained and exported."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "own.yaml").write_text(OWN.replace("DATA", str(demo_root)))
    run(installed / "ppcls-sspcab", "train", "-c", "own.yaml", cwd=folder)
    words = ["-c", "own.yaml", "--format", "paddle,onnx"]
    run(installed / "ppcls-sspcab", "export", *words, cwd=folder)
    return folder


def test_both_archives_pass_twine(wheel: Path) -> None:
    archives = sorted(wheel.parent.iterdir())
    assert [path.name.endswith((".whl", ".tar.gz")) for path in archives] == [True, True]
    done = run(sys.executable, "-m", "twine", "check", "--strict", *archives, cwd=wheel.parent)
    assert done.stdout.count("PASSED") == 2


def test_the_wheel_holds_every_file_that_is_no_python(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    configs = {f"ppcls_sspcab/{path.relative_to(ROOT)}" for path in ROOT.glob("configs/**/*.yaml")}
    data = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "ppcls_sspcab").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert "ppcls_sspcab/configs/variants/3way.yaml" in configs
    assert configs | data == {
        name for name in names if not name.endswith(".py") and ".dist-info/" not in name
    }
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"ppcls_sspcab"}


def test_the_package_is_that_of_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = "import ppcls_sspcab.paths as p; print(p.__file__, p.shipped_config('demo.yaml'))"
    found = run(installed / "python", "-c", code, cwd=tmp_path).stdout.split()
    package = site_packages(installed.parent) / "ppcls_sspcab"
    assert found == [str(package / "paths.py"), str(package / "configs" / "demo.yaml")]
    version = run(installed / "ppcls-sspcab", "--version", cwd=tmp_path).stdout
    assert version.strip() in next(site_packages(installed.parent).glob("*.dist-info")).name


def test_a_yaml_on_a_shipped_one_trains_and_exports(trained: Path) -> None:
    output = trained / "output" / "gasket"
    assert (output / "detector.safetensors").is_file()
    assert (output / "inference" / "model.onnx").is_file()
    whole = yaml.safe_load((output / "config.yaml").read_text())
    assert whole["Preprocess"]["image_size"] == [32, 32]
    assert whole["Global"]["print_batch_step"] == 5  # of the shipped file


def test_the_demo_runs(installed: Path, tmp_path: Path) -> None:
    short = ["Global.epochs=1", "Global.iter_per_epoch=4", "DataLoader.Train.sampler.batch_size=4"]
    words = [word for key in short for word in ("-o", key)]
    done = run(installed / "ppcls-sspcab", "demo", *words, cwd=tmp_path)
    assert done.stdout.splitlines()[-1].startswith("DEMO OK image_auroc=")
    assert (tmp_path / "demo_output" / "mesh" / "predictions.jsonl").is_file()


def test_tools_and_deploy_need_nothing_else(
    installed: Path, trained: Path, demo_root: Path, tmp_path: Path
) -> None:
    for folder in ("tools", "deploy"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    python, model = installed / "python", trained / "output" / "gasket" / "inference"
    picture = next((demo_root / "gasket" / "test" / "good").iterdir())
    words = ["-c", "own.yaml", picture]
    eager = run(python, tmp_path / "tools" / "infer.py", *words, cwd=trained).stdout
    deployed = run(
        python, tmp_path / "deploy" / "infer.py", "--model", model, picture, cwd=tmp_path
    )
    assert json.loads(deployed.stdout)["score"] == pytest.approx(
        json.loads(eager)["score"], rel=1e-4
    )


def test_a_bare_install_with_onnxruntime_scores(
    wheel: Path, installed: Path, trained: Path, demo_root: Path, tmp_path: Path
) -> None:
    python = environment_of(tmp_path / "line_side", "numpy", "pillow", "pyyaml", "onnxruntime")
    install(wheel, tmp_path / "line_side")
    model = trained / "output" / "gasket" / "inference"
    picture = next((demo_root / "gasket" / "test" / "good").iterdir())
    program = shutil.copy(ROOT / "deploy" / "python" / "predict.py", tmp_path)
    words = ["--backend", "onnx", "--model", model, picture]
    bare = json.loads(run(python, program, *words, cwd=tmp_path).stdout)
    full = json.loads(run(installed / "python", program, *words, cwd=tmp_path).stdout)
    assert bare == full
    version = run(tmp_path / "line_side" / "bin" / "ppcls-sspcab", "--version", cwd=tmp_path)
    assert version.stdout.strip()
