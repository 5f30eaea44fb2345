"""Every line of a parameter file takes effect: the commands change when it changes."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from tipc_support import REPOSITORY, bash, copy_of_test_tipc, needs_bash, parameters

pytestmark = needs_bash

CHAIN = "test_train_inference_python.sh"
PARAMETERS = "train_infer_python.txt"
LITE, WHOLE_INFER = "lite_train_lite_infer", "whole_infer"

TRAINERS = {
    "pact_train": {14: "trainer:pact_train", 16: "pact_train:tools/p.py", 30: "quant_export:q.py"},
    "fpgm_train": {14: "trainer:fpgm_train", 17: "fpgm_train:tools/f.py", 31: "fpgm_export:g.py"},
    "distill": {14: "trainer:distill_train", 18: "distill_train:d.py", 32: "distill_export:e.py"},
    "to_static": {14: "trainer:to_static_train", 19: "to_static_train:-o Global.x=1"},
    "other": {14: "trainer:other_train", 20: "other_train:tools/other.py"},
}
QUANTISED = {33: "kl_quant:tools/export_model.py --int8", 38: "infer_quant:True"}

# Line, what it becomes, the mode, and what else is set before.
CHANGES: list[tuple[int, str, str, dict[int, str]]] = [
    (1, "model_name:Other", LITE, {}),
    (2, "python:python3.10", LITE, {}),
    (3, "gpu_list:0", LITE, {}),
    (4, "-o Global.device:cpu|xpu", LITE, {}),
    (4, "-o Global.other:cpu|gpu", LITE, {}),
    (5, "-o AMP.use_amp:null|True", LITE, {}),
    (6, "-o Global.epochs:3", LITE, {}),
    (7, "-o Global.output_dir:elsewhere", LITE, {}),
    (8, "-o DataLoader.Train.sampler.batch_size:5", LITE, {}),
    (9, "-o Arch.pretrained:weights.safetensors", LITE, {}),
    (10, "train_model_name:part/other.safetensors", LITE, {}),
    (11, "train_infer_img_dir:pictures", LITE, {}),
    (12, "-o Global.seed:1", LITE, {}),
    (14, "trainer:other_train", LITE, {20: "other_train:tools/other.py"}),
    (15, "norm_train:tools/other.py", LITE, {}),
    (16, "pact_train:tools/other.py", LITE, TRAINERS["pact_train"]),
    (17, "fpgm_train:tools/other.py", LITE, TRAINERS["fpgm_train"]),
    (18, "distill_train:tools/other.py", LITE, TRAINERS["distill"]),
    (19, "to_static_train:-o Global.x=2", LITE, TRAINERS["to_static"]),
    (20, "other_train:tools/another.py", LITE, TRAINERS["other"]),
    (23, "eval:tools/other.py", LITE, {}),
    (24, "-o Global.seed:1", LITE, {}),
    (27, "-o Global.save_inference_dir:elsewhere", LITE, {}),
    (28, "-o Global.pretrained_model:other.safetensors", LITE, {}),
    (28, "-o Global.other:null", LITE, {}),
    (29, "norm_export:tools/other.py", LITE, {}),
    (30, "quant_export:tools/other.py", LITE, TRAINERS["pact_train"]),
    (31, "fpgm_export:tools/other.py", LITE, TRAINERS["fpgm_train"]),
    (32, "distill_export:tools/other.py", LITE, TRAINERS["distill"]),
    (33, "kl_quant:tools/other.py", WHOLE_INFER, QUANTISED),
    (34, "export2:tools/other.py", LITE, {}),
    (36, "infer_model:other.safetensors", WHOLE_INFER, {}),
    (37, "infer_export:False", WHOLE_INFER, {}),
    (38, "infer_quant:True", WHOLE_INFER, {33: "kl_quant:tools/other.py"}),
    (39, "inference:python/predict.py", LITE, {}),
    (40, "--device:cpu", LITE, {}),
    (41, "--onednn:True", LITE, {}),
    (42, "--threads:4", LITE, {}),
    (43, "--batch-size:4", LITE, {}),
    (44, "--use_tensorrt:True", LITE, {}),
    (45, "--precision:fp16", LITE, {}),
    (46, "--model:elsewhere", LITE, {}),
    (46, "--other:null", LITE, {}),
    (47, "image_dir:pictures", WHOLE_INFER, {}),
    (48, "--output:elsewhere.jsonl", LITE, {}),
    (49, "--benchmark:True", LITE, {}),
    (50, "--threshold:3", LITE, {}),
]

BENCHMARK = [
    (52, "batch_size:4|8"),
    (53, "fp_items:fp32|fp16"),
    (54, "epoch:3"),
    (55, "-o Global.print_batch_step:2"),
    (56, "flags:FLAGS_a=1;FLAGS_b=2"),
    (58, "random_infer_input:[{float32,[3,32,32]}]"),
]

# Of paddle2onnx_infer_python.txt and ptq_infer_python.txt.
EXPORT = [
    (1, "model_name:Other"),
    (2, "python:python3.10"),
    (3, "export:tools/other.py"),
    (4, "-o Global.save_inference_dir:elsewhere"),
    (5, "-o Global.pretrained_model:other.safetensors"),
    (6, "inference:infer.py"),
    (7, "--backend:auto"),
    (8, "--precision:fp32|other"),
    (9, "--threads:4"),
    (10, "--batch-size:4"),
    (11, "--model:elsewhere"),
    (12, "image_dir:pictures"),
    (13, "--output:elsewhere.jsonl"),
    (14, "reference:other.csv"),
    (15, "rtol:1e-3"),
]

# Of train_dy2static_python.txt.
TO_STATIC = [
    *((n, line) for n, line, _, before in CHANGES if n <= 12 and n not in (10, 11) and not before),
    (14, "trainer:norm_train"),
    (15, "norm_train:tools/other.py"),
    (19, "to_static_train:-o Global.other=true"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_test_tipc(tmp_path_factory.mktemp("plan"))


def plan(root: Path, mode: str, changes: Mapping[int, str], gpu: str = "yes") -> str:
    return planned(root, CHAIN, parameters(PARAMETERS, changes), mode, gpu=gpu)


@functools.cache
def planned(root: Path, script: str, text: str, *words: str, gpu: str = "yes") -> str:
    done = bash(root, script, text, *words, "--dry-run", TIPC_GPU=gpu)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("number", "line", "mode", "before"), CHANGES)
def test_each_line_changes_the_commands(
    root: Path, number: int, line: str, mode: str, before: dict[int, str]
) -> None:
    assert plan(root, mode, {**before, number: line}) != plan(root, mode, before)


@pytest.mark.parametrize(
    ("script", "name", "number", "line"),
    [
        *(("benchmark_train.sh", PARAMETERS, *change) for change in BENCHMARK),
        *(("test_paddle2onnx.sh", "paddle2onnx_infer_python.txt", *change) for change in EXPORT),
        *(("test_ptq_inference_python.sh", "ptq_infer_python.txt", *change) for change in EXPORT),
        *(
            ("test_train_dy2static_python.sh", "train_dy2static_python.txt", *change)
            for change in TO_STATIC
        ),
    ],
)
def test_each_line_of_the_other_chains(
    root: Path, script: str, name: str, number: int, line: str
) -> None:
    words = ("benchmark_train",) if script.startswith("benchmark") else ()
    before = planned(root, script, parameters(name), *words)
    assert planned(root, script, parameters(name, {number: line}), *words) != before


def test_no_line_is_left_out() -> None:
    def told(name: str) -> set[int]:
        lines = parameters(name).splitlines()
        return {n for n, line in enumerate(lines) if not line.startswith(("=", "#"))}

    tested = {number for number, *_ in [*CHANGES, *BENCHMARK]}
    assert told(PARAMETERS) - tested == {35}  # which prepare.sh reads, tested below
    for name in ("train_amp_infer_python.txt", "train_multi_device_infer_python.txt"):
        assert told(name) == told(PARAMETERS)
    for name in ("paddle2onnx_infer_python.txt", "ptq_infer_python.txt"):
        assert told(name) == {number for number, _ in EXPORT}


def test_the_weights_address_is_what_is_prepared(root: Path, demo_root: Path) -> None:
    category = next(folder for folder in sorted(demo_root.iterdir()) if folder.is_dir())
    weights = root / "weights.safetensors"
    text = parameters(PARAMETERS, {35: f"pretrained_model_url:{weights}"})
    done = bash(root, "prepare.sh", text, WHOLE_INFER, str(category))
    assert done.returncode == 2 and str(weights) in done.stderr
    weights.write_bytes(b"weights")
    assert bash(root, "prepare.sh", text, WHOLE_INFER, str(category)).returncode == 0
    current = root / "test_tipc" / "data" / "current"
    assert (current / "detector.safetensors").read_bytes() == b"weights"
    listed = (current / "infer_imgs.txt").read_text(encoding="utf-8").splitlines()
    assert sorted(listed) == sorted(
        f"part/{path.relative_to(category)}" for path in (category / "test").rglob("*.png")
    )


def test_modes_choose_their_values(root: Path) -> None:
    lite, whole = plan(root, LITE, {}), plan(root, "whole_train_whole_infer", {})
    assert "Global.epochs=2 " in lite and "Global.epochs=256 " in whole
    assert "Arch.pretrained=false" in lite and "Arch.pretrained=true" in whole
    assert "Global.epochs=2 " in plan(root, "lite_train_whole_infer", {})
    assert "tools/train.py" not in plan(root, WHOLE_INFER, {})


def test_every_combination_is_run_once(root: Path) -> None:
    cpu = [line for line in plan(root, LITE, {3: "gpu_list:-1"}).splitlines() if "infer.py" in line]
    assert len(cpu) == len(set(cpu)) == 2 * 2 * 2 + 2
    for word in ("--onednn=", "--threads="):
        assert sum(word in line for line in cpu) == 8


def test_several_devices_are_launched(root: Path) -> None:
    many = plan(root, LITE, {3: "gpu_list:0,1|-1,-1"}).splitlines()
    training = [line for line in many if "tools/train.py" in line]
    assert "--gpus=0,1 tools/train.py" in training[0]
    assert "Global.device=gpu" in training[0]
    assert "--nproc_per_node=2 --backend=gloo tools/train.py" in training[1]
    assert all("paddle.distributed.launch" in line for line in training)
    assert "Global.device=cpu" in training[1]


def test_without_a_gpu_its_commands_are_told_as_not_run(root: Path) -> None:
    lines = plan(root, LITE, {}, gpu="no").splitlines()
    gpu = [line for line in lines if "CUDA_VISIBLE_DEVICES" in line or "--device=gpu" in line]
    assert gpu and all(line.startswith("# not run, no GPU: ") for line in gpu)


@pytest.mark.parametrize(
    ("changes", "words", "message"),
    [
        ({}, ["lite"], "unknown mode 'lite'"),
        ({}, [LITE, "--dry"], "unknown argument '--dry'"),
        ({}, [LITE], "bash test_tipc/prepare.sh"),
        ({14: "trainer:pact_train"}, [LITE, "--dry-run"], "'pact_train' is asked for"),
        ({14: "trainer:norm"}, [LITE, "--dry-run"], "'norm' is asked for"),
        ({6: "epochs"}, [LITE, "--dry-run"], "must read key:value"),
        ({6: "a:whole_train_whole_infer=2"}, [LITE, "--dry-run"], "no value for the mode"),
    ],
)
def test_mistakes_are_told(
    root: Path, changes: dict[int, str], words: list[str], message: str
) -> None:
    done = bash(root, CHAIN, parameters(PARAMETERS, changes), *words)
    assert done.returncode == 2
    assert message in done.stderr


def test_the_scripts_are_clean() -> None:
    checker = shutil.which("shellcheck") or shutil.which(
        "shellcheck", path=str(REPOSITORY / ".venv" / "bin")
    )
    if checker is None:
        pytest.skip("shellcheck is not installed")
    scripts = sorted(str(path) for path in (REPOSITORY / "test_tipc").glob("*.sh"))
    done = subprocess.run([checker, "-x", *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
