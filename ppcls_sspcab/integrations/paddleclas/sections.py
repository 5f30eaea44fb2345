"""From this project's YAML to the tree of sections that PaddleClas's engine reads."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import paddle
import yaml

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.load import load_config
from ppcls_sspcab.config.schema import GlobalSection
from ppcls_sspcab.data.build import transform_sections
from ppcls_sspcab.data.split import held_out_share
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.utils.logger import get_logger

# Where the whole configuration travels, for the parts that PaddleClas has no section for.
WHOLE = "Anomaly"
_OWN_SECTIONS = ("_BASE_", "Preprocess", "Density", "Threshold")


def is_ours(path: str) -> bool:
    """Whether a YAML file is of this project, and not an ordinary one of PaddleClas.

    Raises:
        ConfigError: the file is missing or no YAML.
    """
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError("", f"cannot be read: {error}", path) from error
    return isinstance(tree, Mapping) and any(name in tree for name in _OWN_SECTIONS)


def load(path: str, overrides: Iterable[str] = ()) -> Config:
    """``load_config``, with PaddleClas's own keys of ``Global`` let in.

    ``-o Global.update_freq=2`` is taken as ``-o Global.paddleclas.update_freq=2``, and so is
    ``Global.pretrained_model``, which there means weights and here a detector.
    """
    own = set(GlobalSection.model_fields) - {"pretrained_model"}
    moved = []
    for text in overrides:
        section, _, rest = text.partition(".")
        name = rest.partition("=")[0].partition(".")[0]
        foreign = section == "Global" and name not in own
        moved.append(f"Global.paddleclas.{rest}" if foreign else text)
    return load_config(path, moved)


def to_paddleclas(config: Config) -> dict[str, Any]:
    """The sections for PaddleClas's engine: ``train_mode: cutpaste``, ``eval_mode: anomaly``.

    Raises:
        ConfigError: ``Global.category: all``; its engine trains one category.
    """
    run = config.Global
    if run.category == "all":
        raise ConfigError(
            "Global.category",
            "PaddleClas's engine runs one category at a time; set one, as in "
            "-o Global.category=bottle",
            config.origin("Global.category"),
        )
    tree: dict[str, Any] = {
        "Global": _global(config),
        "Arch": config.Arch,
        "Loss": {"Train": config.Loss.Train, "Eval": None},
        "Optimizer": _optimizer(config),
        "DataLoader": {"Train": _train_loader(config), "Eval": _eval_loader(config)},
        "Metric": {"Train": None, "Eval": config.Metric.Eval or [{"image_auroc": None}]},
        "Infer": {
            "infer_imgs": config.Infer.infer_imgs,
            "batch_size": config.Infer.batch_size,
            "transforms": [],
            "PostProcess": {"name": "AnomalyDecision"},
        },
        "profiler_options": None,
        WHOLE: config.tree,
    }
    if config.AMP.use_amp:
        tree["AMP"] = config.AMP.model_dump()
    if config.EMA:
        tree["EMA"] = config.EMA.model_dump()
    return copy.deepcopy(tree)


def _global(config: Config) -> dict[str, Any]:
    run = config.Global
    gpu = paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    folder = Path(run.output_dir) / run.category
    return {
        "checkpoints": run.checkpoints,
        "pretrained_model": None,
        "output_dir": str(folder),
        "device": ("gpu" if gpu else "cpu") if run.device == "auto" else run.device,
        # Some versions divide by it.
        "save_interval": run.save_interval or run.epochs + 1,
        "eval_during_train": run.model_selection == "val_synthetic",
        "eval_interval": run.eval_interval,
        "start_eval_epoch": run.start_eval_epoch,
        "epochs": run.epochs,
        "iter_per_epoch": run.iter_per_epoch,
        "print_batch_step": run.print_batch_step,
        "use_visualdl": run.use_visualdl,
        "to_static": run.to_static,
        "seed": run.seed,
        "image_shape": [3, *config.Preprocess.image_size],
        "save_inference_dir": run.save_inference_dir or str(folder / "inference"),
        "train_mode": "cutpaste",
        "eval_mode": "anomaly",
        **run.paddleclas,
    }


def _optimizer(config: Config) -> dict[str, Any]:
    section = dict(config.Optimizer)
    if section.get("name") == "AdamW" and section.get("regularizer"):
        # There a regularizer goes into the gradient, which for AdamW is another method.
        section["weight_decay"] = section.pop("regularizer")["coeff"]
    if "clip_norm" in section:
        get_logger().warning(
            "Optimizer.clip_norm: PaddleClas clips each parameter's gradient by itself, the "
            "built-in engine all of them together; the training will differ"
        )
    return section


def _train_loader(config: Config) -> dict[str, Any]:
    run = config.Global
    return {
        "dataset": {
            **_dataset(config),
            "transform_ops": transform_sections(config),
            "batch_transform_ops": [{"FlattenViews": None}],
            "seed": run.seed,
            "held_out_share": held_out_share(config),
            "tolerance": config.Tolerance.model_dump() if config.Tolerance else None,
        },
        "sampler": {
            "name": "CutPasteSampler",
            "batch_size": config.DataLoader.Train.sampler.batch_size,
            "iter_per_epoch": run.iter_per_epoch,
        },
        "loader": _loader(config.DataLoader.Train.loader.num_workers),
    }


def _eval_loader(config: Config) -> dict[str, Any]:
    return {
        "dataset": {**_dataset(config), "split": "test"},
        "sampler": {
            "batch_size": config.DataLoader.Eval.sampler.batch_size,
            "drop_last": False,
            "shuffle": False,
        },
        "loader": _loader(0),
    }


def _dataset(config: Config) -> dict[str, Any]:
    section = config.DataLoader.Train.dataset
    listing = {name: value for name, value in section.items() if name != "transform_ops"}
    return {
        **listing,
        "data_root": config.Global.data_root,
        "category": config.Global.category,
        "preprocess": config.tree["Preprocess"],
        "cache_mb": config.Global.cache_mb,
        "on_error": config.Global.on_error or "stop",
    }


def _loader(num_workers: int) -> dict[str, Any]:
    # Containers often have too little shared memory for a batch of views.
    return {"num_workers": num_workers, "use_shared_memory": False}
