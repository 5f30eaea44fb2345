"""Files that would run code, lead elsewhere or end in a traceback; every one must be refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ppcls_sspcab.detector.file import load_detector
from ppcls_sspcab.errors import UserError

MARKER = "was-here"
DEEP = 100_000

HOSTILE: dict[str, Callable[[Path], object]] = {}


def refused(name: str, place: Path) -> bool:
    """Whether one of ``HOSTILE`` ends in a UserError, and nothing of it was run.

    Raises:
        Exception: what came instead of a UserError.
    """
    place.mkdir(parents=True)
    try:
        HOSTILE[name](place)
    except UserError as error:
        return bool(str(error)) and not (place / MARKER).exists()
    return False


def hostile(function: Callable[[Path], object]) -> Callable[[Path], object]:
    HOSTILE[function.__name__] = function
    return function


# ---------------------------------------------------------------------------------- pickles


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def _calls(place: Path) -> dict[str, Any]:
    marker = str(place / MARKER)
    return {
        "mkdir": Call(os.mkdir, marker),
        "system": Call(os.system, f"touch {marker}"),
        "eval": Call(eval, f"open({marker!r}, 'w')"),
        "exec": Call(exec, f"open({marker!r}, 'w')"),
        "import": Call(__import__, "antigravity"),
        "popen": Call(subprocess.Popen, ["touch", marker]),
        "open": Call(io.open, marker, "w"),
        "numpy_load": Call(np.load, marker),
        "numpy_fromfile": Call(np.fromfile, "/etc/hostname", np.uint8),
        "bytearray": Call(bytearray, 10),
    }


def _pickled(kind: str, protocol: int) -> Callable[[Path], object]:
    def read(place: Path) -> object:
        from ppcls_sspcab.utils.weights import read_weights

        path = place / "weights.pdparams"
        content = {"weight": np.ones(2), "more": _calls(place)[kind]}
        path.write_bytes(pickle.dumps(content, protocol=protocol))
        return read_weights(path)

    return read


for _kind in _calls(Path()):
    for _protocol in (0, 2, 4, 5):
        HOSTILE[f"pickle_{_kind}_{_protocol}"] = _pickled(_kind, _protocol)

_STREAMS = {
    "global": b"cposix\nsystem\n(S'touch MARKER'\ntR.",
    "instance": b"(S'touch MARKER'\niposix\nsystem\n.",
    "stack_global": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0ctouch MARKER\x85R.",
    "dotted_name": b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.tofile\x93.",
    "persistent": b"Pevil\n.",
    "extension": b"\x80\x02\x82\x01.",
    "only_a_list": b"\x80\x04]\x94.",
    "endless_size": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
    # (t, t) of (t, t) of ... as a key: its hash is that of 2 ** 60 tuples; 250 bytes in all
    "endless_hash": b"\x80\x04)\x94" + b"h\x00h\x00\x86q\x00" * 60 + b"}h\x00K\x01s.",
    "endless_repr": b"\x80\x02)q\x00" + b"h\x00h\x00\x86q\x00" * 60 + b"cnumpy\ndtype\nh\x00\x85R.",
    "changes_the_reader": b"\x80\x02c_codecs\nencode\n}X\x01\x00\x00\x00aK\x01sb.",
    "changes_a_dtype": b"\x80\x02cnumpy\ndtype\n(K\x01K\x02tb.",
    "same_bytes_again": b"\x80\x02X\x00\x10\x00\x00"
    + b"x" * 4096
    + b"q\x00"
    + b"c_codecs\nencode\nh\x00\x85R" * 100
    + b".",
    "a_set": b"\x80\x04\x8f.",
    "deep": b"\x80\x02" + b"(" * DEEP + b"t" * DEEP + b".",
    "nothing": b"",
}


def _stream(content: bytes) -> Callable[[Path], object]:
    def read(place: Path) -> object:
        from ppcls_sspcab.utils.weights import read_weights

        path = place / "weights.pdparams"
        path.write_bytes(content.replace(b"MARKER", str(place / MARKER).encode()))
        return read_weights(path)

    return read


for _name, _content in _STREAMS.items():
    HOSTILE[f"pickle_stream_{_name}"] = _stream(_content)


# ---------------------------------------------------------------------------------- safetensors


def _safetensors(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


_HEADERS = {
    "endless_header": _safetensors(b"{}", length=2**63),
    "no_json": _safetensors(b"{nonsense"),
    "deep_json": _safetensors(b'{"a":' + b"[" * DEEP + b"]" * DEEP + b"}"),
    "beyond_the_end": _safetensors(b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'),
    "negative_size": _safetensors(
        b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', b"1234"
    ),
    "overlapping": _safetensors(
        b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},'
        b'"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}',
        b"123456",
    ),
    "unknown_type": _safetensors(b'{"a":{"dtype":"PY","shape":[1],"data_offsets":[0,4]}}', b"1234"),
    "pickle_inside": pickle.dumps({"a": 1}),
}


def _headed(content: bytes) -> Callable[[Path], object]:
    def read(place: Path) -> object:
        from ppcls_sspcab.utils.weights import read_weights

        path = place / "weights.safetensors"
        path.write_bytes(content)
        return read_weights(path)

    return read


for _name, _content in _HEADERS.items():
    HOSTILE[f"safetensors_{_name}"] = _headed(_content)


# ---------------------------------------------------------------------------------- detectors

_CARD = {
    "format": 3,
    "category": "part",
    "preprocess": {"image_size": [32, 32]},
    "calibration": None,
    "pixel_calibration": None,
    "arch": {"name": "CutPasteNet", "Backbone": {"name": "resnet18"}},
    "density": {"name": "GaussianDensity"},
    "score": {"name": "embedding"},
    "localize": None,
    "tiling": None,
    "protocol": {},
}

_CARDS: dict[str, Any] = {
    "no_json": "{",
    "deep_json": "[" * DEEP,
    "a_list": [],
    "another_format": {**_CARD, "format": 99},
    "without_arch": {key: value for key, value in _CARD.items() if key != "arch"},
    "arch_is_a_text": {**_CARD, "arch": "__import__('os').mkdir('x')"},
    "unknown_arch": {**_CARD, "arch": {"name": "os.system"}},
    "backbone_evaluated": {
        **_CARD,
        "arch": {"name": "CutPasteNet", "Backbone": {"name": "__import__('os').getcwd()"}},
    },
    "size_is_a_text": {**_CARD, "preprocess": {"image_size": "32"}},
    "size_is_endless": {**_CARD, "preprocess": {"image_size": [10**30, 32]}},
    "calibration_is_foreign": {**_CARD, "calibration": {"evil": 1}},
    "density_of_nothing": {**_CARD, "density": {}},
    "score_of_nothing": {**_CARD, "score": {"name": 3}},
    "localize_is_a_list": {**_CARD, "localize": [1]},
    "weights_are_missing": _CARD,
}


def _carded(card: Any) -> Callable[[Path], object]:
    def read(place: Path) -> object:
        from ppcls_sspcab.utils.weights import write_safetensors

        path = place / "detector.safetensors"
        text = card if isinstance(card, str) else json.dumps(card)
        write_safetensors(path, {"threshold": np.zeros(())}, {"detector": text})
        return load_detector(path)

    return read


for _name, _card in _CARDS.items():
    HOSTILE[f"detector_{_name}"] = _carded(_card)

_CALIBRATION = {"threshold": 0.5, "scale": 1.0, "method": "TargetFPR", "pictures": 9}
for _name, _values in {
    "a_text": "x",
    "threshold_is_a_text": {**_CALIBRATION, "threshold": "0.5"},
    "threshold_is_nan": {**_CALIBRATION, "threshold": float("nan")},
    "scale_is_zero": {**_CALIBRATION, "scale": 0.0},
    "half_a_picture": {**_CALIBRATION, "pictures": 1.5},
}.items():
    HOSTILE[f"detector_calibration_{_name}"] = _carded({**_CARD, "calibration": _values})

_PROGRESS = {"step": 0, "seconds": 0.0, "best_metric": None, "best_epoch": None}
_STATE = {"progress": _PROGRESS, "identity": {}, "schedule": {}, "scaler": None}
_STATES: dict[str, Any] = {
    "no_json": "{",
    "deep_json": "[" * DEEP,
    "a_list": [],
    "without_progress": {key: value for key, value in _STATE.items() if key != "progress"},
    "step_is_a_text": {**_STATE, "progress": {**_PROGRESS, "step": "__import__('os')"}},
    "foreign_progress": {**_STATE, "progress": {"evil": 1}},
    "identity_is_a_list": {**_STATE, "identity": [1]},
}


def _stated(state: Any) -> Callable[[Path], object]:
    def read(place: Path) -> object:
        from ppcls_sspcab.engine.checkpoint import read_checkpoint
        from ppcls_sspcab.utils.weights import write_safetensors

        path = place / "latest.safetensors"
        text = state if isinstance(state, str) else json.dumps(state)
        write_safetensors(path, {"network.a": np.zeros(1)}, {"checkpoint": text})
        return read_checkpoint(path)

    return read


for _name, _state in _STATES.items():
    HOSTILE[f"checkpoint_{_name}"] = _stated(_state)


# ---------------------------------------------------------------------------------- exports

_ALIASES = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{after}: &{after} [{','.join([f'*{name}'] * 9)}]\n"
    for name, after in zip("abcdefghij", "bcdefghijk", strict=True)
)
_EXPORT = {
    "format": 1,
    "category": "part",
    "input": {"name": "images", "type": "float32"},
    "preprocess": {"image_size": [32, 32]},
    "outputs": ["score"],
    "threshold": 0.0,
    "scale": 1.0,
    "files": {},
}
_EXPORTS: dict[str, Any] = {
    "runs_python": "!!python/object/apply:os.mkdir [MARKER]",
    "deep": "[" * DEEP,
    "no_text": "\udcff",
    "a_list": [],
    "files_is_a_list": {**_EXPORT, "files": ["model.onnx"]},
    "wrong_hash": {**_EXPORT, "files": {"model.onnx": "0" * 64}},
    "outputs_are_numbers": {**_EXPORT, "outputs": [1, "score"]},
    "threshold_is_a_text": {**_EXPORT, "threshold": "__import__('os')"},
    "threshold_is_endless": {**_EXPORT, "threshold": 10**400},
    "input_is_a_list": {**_EXPORT, "input": []},
    "mean_is_a_mapping": {**_EXPORT, "preprocess": {"mean": {"a": 1}}},
    "aliases": yaml.safe_dump(_EXPORT) + _ALIASES + "detector: *k\n",
    "threshold_stands_twice": yaml.safe_dump(_EXPORT) + "threshold: 9.0\n",
    "threshold_is_true": {**_EXPORT, "threshold": True},
    "threshold_is_a_digit": {**_EXPORT, "threshold": "0.5"},
    "threshold_is_beyond_float32": {**_EXPORT, "threshold": 1e300},
    "scale_is_negative": {**_EXPORT, "scale": -1.0},
    "format_is_true": {**_EXPORT, "format": True},
    "half_a_picture_at_once": {**_EXPORT, "pictures_at_once": 1.5},
    "true_pictures_at_once": {**_EXPORT, "pictures_at_once": True},
    "an_output_twice": {**_EXPORT, "outputs": ["score", "score"]},
    "hash_is_a_number": {**_EXPORT, "files": {"model.onnx": 7}},
    "detector_is_a_list": {**_EXPORT, "detector": [1]},
}


def _exported(card: Any) -> Callable[[Path], object]:
    def read(place: Path) -> object:
        from ppcls_sspcab.runtime.predictor import Predictor

        text = card if isinstance(card, str) else yaml.safe_dump(card)
        text = text.replace("MARKER", str(place / MARKER))
        (place / "inference.yml").write_bytes(text.encode("utf-8", "surrogateescape"))
        (place / "model.onnx").write_bytes(b"nothing")
        return Predictor(place, backend="onnx")

    return read


for _name, _card in _EXPORTS.items():
    HOSTILE[f"export_{_name}"] = _exported(_card)


def _with_hashes(place: Path, *names: str) -> None:
    """What an attacker would write: a card that names his own files' hashes."""
    from ppcls_sspcab.utils.files import sha256_of

    card = {**_EXPORT, "files": {name: sha256_of(place / name) for name in names}}
    (place / "inference.yml").write_text(yaml.safe_dump(card))


def _onnx(location: str) -> Callable[[Path], object]:
    def read(place: Path) -> object:
        import onnx
        from onnx import TensorProto, helper

        from ppcls_sspcab.runtime.predictor import Predictor

        model, secret = place / "model", place / "secret.bin"
        model.mkdir()
        secret.write_bytes(b"\0" * 16)
        (model / "link.bin").symlink_to(secret)
        weight = TensorProto(name="w", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
        where = location.replace("PLACE", str(place))
        for key, value in (("location", where), ("offset", "0"), ("length", "16")):
            entry = weight.external_data.add()
            entry.key, entry.value = key, value
        graph = helper.make_graph(
            [helper.make_node("Add", ["images", "w"], ["score"])],
            "graph",
            [helper.make_tensor_value_info("images", 1, [4])],
            [helper.make_tensor_value_info("score", 1, [4])],
            [weight],
        )
        opset = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), model / "model.onnx")
        _with_hashes(model, "model.onnx")
        return Predictor(model, backend="onnx")

    return read


for _name, _location in {
    "above": "../secret.bin",
    "absolute": "PLACE/secret.bin",
    "by_a_link": "link.bin",
}.items():
    HOSTILE[f"onnx_reads_{_name}"] = _onnx(_location)


@hostile
def onnx_unknown_operator(place: Path) -> object:
    import onnx
    from onnx import helper

    from ppcls_sspcab.runtime.predictor import Predictor

    graph = helper.make_graph(
        [helper.make_node("Evil", ["images"], ["score"], domain="com.evil")],
        "graph",
        [helper.make_tensor_value_info("images", 1, [4])],
        [helper.make_tensor_value_info("score", 1, [4])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.evil", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), place / "model.onnx")
    _with_hashes(place, "model.onnx")
    return Predictor(place, backend="onnx")


def _onnx_model(node: Any, **more: Any) -> Any:
    """A model of one node, that would run."""
    from onnx import helper

    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("images", 1, [4])],
        [helper.make_tensor_value_info("score", 1, [4])],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8, **more)


def _onnx_node(kind: str, **attributes: Any) -> Any:
    from onnx import helper

    inputs = [] if kind == "Constant" else ["images"]
    return helper.make_node(kind, inputs, ["score"], **attributes)


def _onnx_models() -> dict[str, Any]:
    from onnx import TensorProto, helper

    outside = TensorProto(name="w", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    branch = helper.make_graph([_onnx_node("Relu")], "branch", [], [])
    function = helper.make_function("own", "F", ["a"], ["b"], [], [helper.make_opsetid("", 17)])
    trained = _onnx_model(_onnx_node("Relu"))
    trained.training_info.add()
    hidden = _onnx_model(_onnx_node("Relu"))
    hidden.graph.node[0].domain = "com.microsoft"
    return {
        "constant_outside": _onnx_model(_onnx_node("Constant", value=outside)),
        "branches": _onnx_model(_onnx_node("If", then_branch=branch, else_branch=branch)),
        "graph_in_an_attribute": _onnx_model(_onnx_node("Relu", then_branch=branch)),
        "function": _onnx_model(_onnx_node("Relu"), functions=[function]),
        "training": trained,
        "foreign_domain": hidden,
        "random": _onnx_model(_onnx_node("RandomNormalLike")),
    }


def _onnx_bytes(name: str) -> Callable[[Path], object]:
    def read(place: Path) -> object:
        from ppcls_sspcab.runtime.predictor import Predictor

        whole = _onnx_model(_onnx_node("Relu")).SerializeToString()
        content = {
            "cut": whole[:-3],
            "no_buffer": b"\x0b" * 40,
            "a_group": whole + b"\x3b\x3c",
            "long_number": whole + b"\x08" + b"\xff" * 11,
            "large_key": whole + b"\xba\x80\x80\x80\x80\x01\x00",
        }.get(name) or _onnx_models()[name].SerializeToString()
        (place / "model.onnx").write_bytes(content)
        _with_hashes(place, "model.onnx")
        return Predictor(place, backend="onnx")

    return read


for _name in (
    *("constant_outside", "branches", "graph_in_an_attribute", "function", "training"),
    *("foreign_domain", "random", "cut", "no_buffer", "a_group"),
    *("long_number", "large_key"),
):
    HOSTILE[f"onnx_{_name}"] = _onnx_bytes(_name)


def _program(content: str) -> Callable[[Path], object]:
    def read(place: Path) -> object:
        from ppcls_sspcab.runtime.predictor import Predictor

        (place / "inference.json").write_text(content.replace("MARKER", str(place / MARKER)))
        (place / "inference.pdiparams").write_bytes(b"nothing")
        _with_hashes(place, "inference.json", "inference.pdiparams")
        return Predictor(place, backend="paddle")

    return read


def _operator(name: str, **more: Any) -> str:
    attribute = {"N": "file_path", "AT": {"#": "0.a_str", "D": "MARKER"}}
    operator = {"#": name, "A": [attribute], "I": [], "O": [], **more}
    block = {"#": "block_0", "args": [], "ops": [operator]}
    program = {"regions": [{"#": "region_0", "blocks": [block]}]}
    return json.dumps({"base_code": {"magic": "pir", "version": 4}, "program": program})


_INSIDE = json.loads(_operator("1.save"))["program"]["regions"]
_HARMFUL = ("check_numerics", "save_combine", "save", "load_combine", "read_file", "py_func")
for _name, _content in {
    "no_json": "{",
    "deep_json": "[" * DEEP,
    "empty": "{}",
    **{f"would_{name}": _operator(f"1.{name}") for name in (*_HARMFUL, "send_v2", "print")},
    "of_a_custom_dialect": _operator("3.relu", A=[]),
    "by_its_whole_name": _operator("pd_op.relu", A=[]),
    "foreign_attribute": _operator("1.relu"),
    "branches": _operator("2.if", A=[]),
    "operators_inside": _operator("1.relu", A=[], regions=_INSIDE),
    "operator_is_a_list": _operator("1.relu").replace('"1.relu"', "[]"),
}.items():
    HOSTILE[f"paddle_{_name}"] = _program(_content)


# ---------------------------------------------------------------------------------- configurations

_BASE = Path(__file__).resolve().parents[1] / "configs" / "demo.yaml"
_YAMLS = {
    "runs_python": "Global: !!python/object/apply:os.mkdir [MARKER]",
    "names_python": "Global: {seed: !!python/name:os.system }",
    "many_aliases": _ALIASES,
    "many_merges": "a: &a {x: 1}\n"
    + "".join(
        f"{after}: &{after} {{<<: [{','.join([f'*{name}'] * 9)}]}}\n"
        for name, after in zip("abcdefghij", "bcdefghijk", strict=True)
    ),
    "endless_number": f"Global: {{seed: 0x{'f' * 4000}}}",
    "endless_text": "Global: {category: " + "x" * 2_000_000 + "}",
    "contains_itself": "Global: &a {plugins: [*a]}",
    "deep": "[" * DEEP,
    "impossible_date": "Global: {category: 2024-99-99}",
    "category_above": f"_BASE_: {_BASE}\nGlobal: {{category: ../elsewhere}}",
    "category_absolute": f"_BASE_: {_BASE}\nGlobal: {{category: /tmp/elsewhere}}",
    "base_is_itself": "_BASE_: config.yaml",
    "base_is_a_folder": "_BASE_: .",
    "no_text": "\udcff\udcfe",
}


def _configured(text: str) -> Callable[[Path], object]:
    def read(place: Path) -> object:
        from ppcls_sspcab.config.load import load_config

        path = place / "config.yaml"
        content = text.replace("MARKER", str(place / MARKER))
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
        return load_config(path)

    return read


@hostile
def config_fan_of_bases(place: Path) -> object:
    """Each file names the next one twenty times."""
    from ppcls_sspcab.config.load import load_config

    for number in range(20):
        names = ", ".join([f"{number + 1}.yaml"] * 20)
        (place / f"{number}.yaml").write_text(f"_BASE_: [{names}]\n")
    (place / "20.yaml").write_text("Global: {seed: 1}\n")
    return load_config(place / "0.yaml")


for _name, _content in _YAMLS.items():
    HOSTILE[f"config_{_name}"] = _configured(_content)


def _listed(row: str) -> Callable[[Path], object]:
    def read(place: Path) -> object:
        from ppcls_sspcab.config.load import load_config
        from ppcls_sspcab.data.build import categories

        (place / "one.png").touch()
        (place / "list.csv").write_text(f"path,label,category\n{row}\n", encoding="utf-8")
        overrides = ["DataLoader.Train.dataset.name=ListDataset", f"Global.data_root={place}"]
        return categories(load_config(_BASE, overrides))

    return read


HOSTILE["list_category_above"] = _listed("one.png,good,../elsewhere")
HOSTILE["list_category_absolute"] = _listed("one.png,good,/tmp/elsewhere")
HOSTILE["list_of_what_is_not_there"] = _listed("../../nowhere.png,good,part")
