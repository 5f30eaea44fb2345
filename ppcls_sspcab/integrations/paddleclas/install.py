"""``install()``: assigns this project's names where PaddleClas's builders look for theirs."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any, Literal

from ppcls_sspcab.errors import UserError
from ppcls_sspcab.integrations.paddleclas import (
    anomaly_engine,
    compatibility,
    data,
    metrics,
    model,
    sections,
    train_loop,
)
from ppcls_sspcab.registry import ARCHITECTURES, DATASETS, LOSSES, METRICS, TRANSFORMS
from ppcls_sspcab.utils.paddleclas import bind, find_module

# PaddleClas has these under the same name, and they stay its own. Its CELoss gives what ours does;
# our ColorJitter is that of our datasets only.
KEPT = frozenset({"CELoss", "ColorJitter"})


@dataclasses.dataclass(frozen=True)
class Injected:
    """One name that :func:`install` put into PaddleClas.

    Attributes:
        name: as a YAML (or the engine) gives it.
        module: where it was put, ``ppcls.loss``.
        how: ``added``, or ``wrapped``: the original does what it did, and ours in addition.
        used_by: the key of the YAML that looks it up.
    """

    name: str
    module: str
    how: Literal["added", "wrapped"]
    used_by: str


_added: dict[tuple[str, str], Any] = {}


def install(home: str | os.PathLike[str] | None = None) -> list[Injected]:
    """Puts architecture, block, heads, losses, data, metrics and engine parts into PaddleClas.

    No file is touched: names are assigned in the loaded modules, of one module tree only. A second
    call adds what plug-ins have registered since.

    Args:
        home: folder that holds ``ppcls``; default ``PADDLECLAS_HOME``, else the importable one.

    Returns:
        every name, in the order of the table in ``docs/paddleclas.md``; of a PaddleClas without
        an engine only those of its networks.

    Raises:
        UserError: no PaddleClas, two of them at once, or a name that it uses for something else.
    """
    tree = bind(home)
    additions = [entry for entry in _additions() if entry[1] not in KEPT]
    table = [_add(tree, *entry) for entry in additions if find_module(entry[0]) is not None]
    table += [_wrap(tree, *entry) for entry in _wrappers() if find_module(entry[0]) is not None]
    if find_module("engine.engine") is not None:
        compatibility.make_compatible()
    return table


def _additions() -> Iterator[tuple[str, str, Callable[[str], Any], str]]:
    """(module, name, what finds it by its name, key of the YAML)."""
    for path, names, find, used_by in (
        ("arch", ARCHITECTURES.names(), ARCHITECTURES.get, "Arch.name"),
        ("loss", LOSSES.names(), LOSSES.get, "Loss.Train"),
        ("data", DATASETS.names(), data.dataset_named, "DataLoader.*.dataset.name"),
        ("data", ["CutPasteSampler"], vars(data).get, "DataLoader.Train.sampler.name"),
        ("data.preprocess", TRANSFORMS.names(), data.transform_named, "transform_ops"),
        ("data.preprocess", ["FlattenViews"], vars(data).get, "batch_transform_ops"),
        ("metric", METRICS.names(), metrics.metric_named, "Metric.Eval"),
        ("data.postprocess", ["AnomalyDecision"], vars(metrics).get, "Infer.PostProcess.name"),
        ("engine.train", ["train_epoch_cutpaste"], vars(train_loop).get, "Global.train_mode"),
        ("engine.evaluation", ["anomaly_eval"], vars(anomaly_engine).get, "Global.eval_mode"),
    ):
        for name in names:
            yield path, name, find, used_by


def _wrappers() -> Iterator[tuple[str, str, Callable[[Any], Any], str]]:
    """(module, name, what is put around it, key of the YAML)."""
    yield "arch", "build_model", model.with_blocks, "Arch.Block"
    yield "arch", "build_gear", model.with_heads, "Arch.Head.name"
    yield "engine.engine", "Engine", anomaly_engine.with_anomaly, "Global.eval_mode"
    yield "utils.config", "get_config", _with_our_yaml, "-c, -o"


def _add(tree: str, path: str, name: str, find: Callable[[str], Any], used_by: str) -> Injected:
    module = find_module(path)
    existing = getattr(module, name, None)
    known = _added.get((path, name))
    if existing is None:
        _added[path, name] = find(name)
        setattr(module, name, _added[path, name])
    elif existing is not known:
        raise UserError(
            f"{tree}.{path} has a {name!r} of its own, from {_origin(existing)}; it is not "
            "overwritten: rename one of the two"
        )
    return Injected(name, f"{tree}.{path}", "added", used_by)


def _wrap(tree: str, path: str, name: str, around: Callable[[Any], Any], used_by: str) -> Injected:
    module: Any = find_module(path)
    original = getattr(module, name)
    if (path, name) not in _added:
        _added[path, name] = around(original)
        setattr(module, name, _added[path, name])
        # The engine has imported it by name.
        engine = find_module("engine.engine")
        if getattr(engine, name, None) is original:
            setattr(engine, name, _added[path, name])
    return Injected(name, f"{tree}.{path}", "wrapped", used_by)


def _with_our_yaml(get_config: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(get_config)
    def read(fname: str, overrides: Any = None, show: bool = False) -> Any:
        if not sections.is_ours(fname):
            return get_config(fname, overrides, show)
        return engine_config(sections.load(fname, overrides or ()))

    return read


def engine_config(config: Any) -> Any:
    """A configuration of this project as PaddleClas's engine takes it, plug-ins loaded."""
    with config.naming_files():
        config.load_plugins()
        install()
        return _attribute_dict(sections.to_paddleclas(config))


def _attribute_dict(value: Any) -> Any:
    module: Any = find_module("utils.config")
    if isinstance(value, dict):
        return module.AttrDict({name: _attribute_dict(item) for name, item in value.items()})
    return [_attribute_dict(item) for item in value] if isinstance(value, list) else value


def _origin(entry: Any) -> str:
    return str(getattr(entry, "__module__", type(entry).__module__))
