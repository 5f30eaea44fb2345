"""Ordinary PaddleClas configurations gain the block, the head and the rest of our names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ppcls_sspcab.utils.weights import read_weights

CLASSES = 3


@pytest.fixture
def stock(tmp_path: Path) -> Callable[..., Path]:
    """Writes a configuration as PaddleClas's own are, on generated pictures of three colours."""
    from PIL import Image

    lines = []
    rng = np.random.default_rng(0)
    for number in range(12):
        pixels = rng.integers(0, 100, (40, 40, 3), np.uint8)
        pixels[..., number % CLASSES] += 120
        Image.fromarray(pixels).save(tmp_path / f"{number:02}.png")
        lines.append(f"{number:02}.png {number % CLASSES}")
    (tmp_path / "labels.txt").write_text("\n".join(lines))

    def write(**sections: Any) -> Path:
        path = tmp_path / "stock.yaml"
        path.write_text(yaml.safe_dump({**sections_of(tmp_path), **sections}, sort_keys=False))
        return path

    return write


def sections_of(folder: Path) -> dict[str, Any]:
    operators = [
        {"DecodeImage": {"to_rgb": True, "channel_first": False}},
        {"ResizeImage": {"size": 32}},
    ]
    normalize = {
        "NormalizeImage": {"scale": 1 / 255, "mean": [0.5] * 3, "std": [0.5] * 3, "order": ""}
    }
    files = {"name": "ImageNetDataset", "image_root": str(folder)}
    files["cls_label_path"] = str(folder / "labels.txt")
    loader = {"num_workers": 0, "use_shared_memory": False}

    def part(shuffle: bool, more: list[Any]) -> dict[str, Any]:
        return {
            "dataset": {**files, "transform_ops": [*operators, *more, normalize]},
            "sampler": {"batch_size": 4, "drop_last": False, "shuffle": shuffle},
            "loader": loader,
        }

    return {
        "Global": {
            "checkpoints": None,
            "pretrained_model": None,
            "output_dir": str(folder / "output"),
            "device": "cpu",
            "save_interval": 1,
            "eval_during_train": True,
            "eval_interval": 1,
            "epochs": 2,
            "print_batch_step": 1,
            "use_visualdl": False,
            "image_shape": [3, 32, 32],
            "save_inference_dir": str(folder / "inference"),
            "seed": 0,
        },
        "Loss": {
            "Train": [{"CELoss": {"weight": 1.0}}, {"SSPCABLoss": {"weight": 0.1}}],
            "Eval": [{"CELoss": {"weight": 1.0}}],
        },
        "Optimizer": {
            "name": "Momentum",
            "momentum": 0.9,
            "lr": {"name": "Cosine", "learning_rate": 0.01},
        },
        "DataLoader": {
            "Train": part(True, [{"RandomTranslation": {"fraction": 0.1}}]),
            "Eval": part(False, []),
        },
        "Infer": {
            "infer_imgs": str(folder / "00.png"),
            "batch_size": 1,
            "transforms": [*operators, normalize, {"ToCHWImage": None}],
            "PostProcess": {"name": "AnomalyDecision", "threshold": 0.4},
        },
        "Metric": {
            "Train": [{"TopkAcc": {"topk": [1]}}],
            "Eval": [{"TopkAcc": {"topk": [1]}}, {"image_auroc": None}],
        },
    }


def check_losses(losses: list[dict[str, float]]) -> None:
    assert len(losses) == 6
    for step in losses:
        assert step["SSPCABLoss"] > 0
        assert step["loss"] == pytest.approx(step["CELoss"] + step["SSPCABLoss"], rel=1e-6)


def test_a_stock_resnet50_trains_evaluates_and_predicts_with_the_block(
    run: Callable[..., Any], stock: Callable[..., Path], tmp_path: Path
) -> None:
    path = stock(Arch={"name": "ResNet50", "class_num": CLASSES, "Block": {"name": "SSPCAB"}})
    outcome = run(["train", "-c", path], ["infer", "-c", path], ["export", "-c", path])
    check_losses(outcome.losses)
    assert "image_auroc: " in outcome.text
    assert "'is_anomaly': " in outcome.text
    assert (tmp_path / "inference" / "inference.json").is_file()
    weights = read_weights(next((tmp_path / "output").rglob("latest.pdparams")))
    kernel = weights["blocks.15.conv1.conv.conv.weight"]
    assert list(kernel.shape) == [512, 4 * 512, 1, 1]
    assert "blocks.15.conv1.conv.weight" not in weights
    assert weights["fc.weight"].shape[1] == CLASSES


def test_a_rec_model_trains_with_our_head_and_the_block(
    run: Callable[..., Any], stock: Callable[..., Path], tmp_path: Path
) -> None:
    path = stock(
        Arch={
            "name": "RecModel",
            "infer_output_key": "features",
            "infer_add_softmax": False,
            "Backbone": {"name": "ResNet18", "pretrained": False},
            "BackboneStopLayer": {"name": "flatten"},
            "Head": {"name": "ProjectionHead", "embedding_size": 512, "class_num": CLASSES},
            "Block": {"name": "SSPCAB", "reduction": 16},
        },
    )
    outcome = run(["train", "-c", path, "-o", "Global.eval_during_train=False"])
    check_losses(outcome.losses)
    weights = read_weights(next((tmp_path / "output").rglob("latest.pdparams")))
    assert weights["head.classifier.weight"].shape == (128, CLASSES)
    assert weights["backbone.blocks.7.conv0.conv.attention.squeeze.weight"].shape[0] == 512 // 16


def test_cutpaste_makes_views_of_a_stock_dataset(
    run: Callable[..., Any], stock: Callable[..., Path], tmp_path: Path
) -> None:
    sections = sections_of(tmp_path)
    dataset = sections["DataLoader"]["Train"]["dataset"]
    dataset["transform_ops"].pop()  # the views are normalised after the patch is pasted
    dataset["batch_transform_ops"] = [{"CutPaste": {"variant": "3way", "mean": [0.5] * 3}}]
    path = stock(
        Arch={"name": "PPLCNet_x0_25", "class_num": 3, "Block": {"name": "SSPCAB"}},
        DataLoader=sections["DataLoader"],
        Metric={"Train": None, "Eval": [{"TopkAcc": {"topk": [1]}}]},
    )
    outcome = run(["train", "-c", path, "-o", "Global.eval_during_train=False"])
    check_losses(outcome.losses)
    assert 0.5 < outcome.losses[0]["CELoss"] < 2
