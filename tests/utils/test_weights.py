"""Weights files: what paddle and safetensors write is read, what could run code is refused."""

import json
import os
import pickle
import struct
from collections import OrderedDict

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file

from ppcls_sspcab.errors import ModelError
from ppcls_sspcab.utils.weights import (
    convert,
    load_into,
    read_safetensors,
    read_weights,
    write_pdparams,
    write_safetensors,
)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "a.weight": rng.normal(size=(3, 2)).astype(np.float32),
        "a.transposed": rng.normal(size=(2, 5)).astype(np.float64).T,
        "b.half": rng.normal(size=4).astype(np.float16),
        "c.count": np.array(7, dtype=np.int64),
        "c.flags": np.array([True, False]),
        "d.empty": np.zeros((0, 3), np.float32),
    }


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        assert found[name].shape == array.shape, name
        np.testing.assert_array_equal(found[name], array)


def test_safetensors_are_read_by_the_library_and_by_us(tmp_path, arrays):
    path = tmp_path / "w.safetensors"
    write_safetensors(path, arrays, {"epoch": "3"})
    assert_same(load_file(path), arrays)
    assert_same(read_weights(path), arrays)
    found, texts = read_safetensors(path)
    assert_same(found, arrays)
    assert texts == {"epoch": "3"}


def test_the_order_of_names_is_the_same_at_every_reading(tmp_path, arrays):
    path = tmp_path / "w.safetensors"
    write_safetensors(path, arrays)
    assert all(list(read_weights(path)) == sorted(arrays) for _ in range(5))


def test_pdparams_are_read_by_paddle_and_by_us(tmp_path, arrays):
    path = tmp_path / "w.pdparams"
    write_pdparams(path, arrays)
    assert_same({name: t.numpy() for name, t in paddle.load(str(path)).items()}, arrays)
    assert_same(read_weights(path), arrays)


@pytest.mark.parametrize("protocol", [2, 4])
def test_reads_what_paddle_saves(tmp_path, protocol):
    layer = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4))
    path = tmp_path / "w.pdparams"
    paddle.save(layer.state_dict(), str(path), protocol=protocol)
    assert_same(read_weights(path), {name: t.numpy() for name, t in layer.state_dict().items()})


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_every_pickle_protocol(tmp_path, arrays, protocol):
    path = tmp_path / "w.pdparams"
    path.write_bytes(pickle.dumps(arrays, protocol=protocol))
    assert_same(read_weights(path), arrays)


def test_a_file_that_sets_attributes_of_the_readers_functions_is_refused(tmp_path):
    (tmp_path / "w.pdparams").write_bytes(b"\x80\x02c_codecs\nencode\n}X\x01\x00\x00\x00aK\x01sb.")
    with pytest.raises(ModelError, match="would change an object"):
        read_weights(tmp_path / "w.pdparams")


def test_one_array_under_two_names_is_read(tmp_path):
    array = np.arange(100_000, dtype=np.float32)
    for protocol in (0, 2, 4, 5):
        path = tmp_path / "w.pdparams"
        path.write_bytes(pickle.dumps(OrderedDict(a=array, b=array), protocol=protocol))
        assert_same(read_weights(path), {"a": array, "b": array})


def test_reads_the_names_of_numpy_2(tmp_path):
    name_of_1, name_of_2 = b"numpy.core.multiarray", b"numpy._core.multiarray"
    data = pickle.dumps({"a": np.arange(3.0)}, protocol=2)
    path = tmp_path / "w.pdparams"
    for there, other in ((name_of_1, name_of_2), (name_of_2, name_of_1)):
        if there in data:
            path.write_bytes(data.replace(there, other))
            break
    np.testing.assert_array_equal(read_weights(path)["a"], np.arange(3.0))


def test_bfloat16_becomes_the_same_float32(tmp_path):
    values = np.array([1.0, -2.5, 0.15625], np.float32)  # exact in bfloat16
    paddle.save({"x": paddle.to_tensor(values).astype("bfloat16")}, str(tmp_path / "w.pdparams"))
    header = json.dumps({"x": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}).encode()
    raw = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + raw)
    for suffix in ("pdparams", "safetensors"):
        assert_same(read_weights(tmp_path / f"w.{suffix}"), {"x": values})


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_code_is_refused(tmp_path, protocol):
    path, marker = tmp_path / "w.pdparams", tmp_path / "was-here"
    path.write_bytes(pickle.dumps({"a": np.ones(2), "b": Malicious(marker)}, protocol=protocol))
    with pytest.raises(ModelError, match=r"w\.pdparams: refused: it would run \w+\.mkdir"):
        read_weights(path)
    assert not marker.exists()


@pytest.mark.parametrize("value", [np.array([{}]), np.array(["text"]), np.zeros(2, complex), 3])
def test_only_numbers_are_tensors(tmp_path, value):
    path = tmp_path / "w.pdparams"
    path.write_bytes(pickle.dumps({"a": value}))
    with pytest.raises(ModelError, match=r"w\.pdparams"):
        read_weights(path)


@pytest.mark.parametrize("name", ["w.pdparams", "w.safetensors"])
def test_a_cut_file_is_one_clear_error(tmp_path, arrays, name):
    path = tmp_path / name
    (write_pdparams if name.endswith("pdparams") else write_safetensors)(path, arrays)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ModelError, match="cannot be read as"):
        read_weights(path)


def test_missing_and_unknown_files(tmp_path):
    with pytest.raises(ModelError, match="no such weights file"):
        read_weights(tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match=r"\.safetensors or \.pdparams"):
        read_weights(tmp_path / "w.pth")


def test_convert_there_and_back(tmp_path, arrays):
    write_pdparams(tmp_path / "a.pdparams", arrays)
    convert(tmp_path / "a.pdparams", tmp_path / "b.safetensors")
    convert(tmp_path / "b.safetensors", tmp_path / "c.pdparams")
    assert_same(read_weights(tmp_path / "c.pdparams"), arrays)
    with pytest.raises(ModelError, match=r"d\.onnx"):
        convert(tmp_path / "a.pdparams", tmp_path / "d.onnx")


def test_load_reports_every_name():
    layer = paddle.nn.Sequential(paddle.nn.Linear(2, 3), paddle.nn.BatchNorm1D(3))
    bias = layer[0].bias.numpy().copy()
    weight = np.arange(6, dtype=np.float16).reshape(2, 3)
    given = {"0.weight": weight, "1._mean": np.full(3, 5.0), "fc.weight": np.ones(1)}
    report = load_into(layer, given, "file")
    np.testing.assert_array_equal(layer[0].weight.numpy(), weight.astype(np.float32))
    np.testing.assert_array_equal(layer[1]._mean.numpy(), [5, 5, 5])
    np.testing.assert_array_equal(layer[0].bias.numpy(), bias)
    assert set(report.loaded) == {"0.weight", "1._mean"}
    assert set(report.missing) == {"0.bias", "1.weight", "1.bias", "1._variance"}
    assert report.unexpected == ("fc.weight",)
    assert report.summary() == (
        "loaded 2 of 6 tensors; not in the file, initialised at random: "
        f"{', '.join(report.missing)}; in the file, not used: fc.weight"
    )


def test_load_refuses_other_shapes_and_leaves_the_network_alone():
    layer = paddle.nn.Linear(2, 3)
    before = layer.bias.numpy().copy()
    with pytest.raises(ModelError, match=r"weight is \[3, 2\], the network's \[2, 3\]"):
        load_into(layer, {"bias": np.ones(3), "weight": np.ones((3, 2))}, "file")
    np.testing.assert_array_equal(layer.bias.numpy(), before)


def test_load_of_another_network_names_both_sides():
    with pytest.raises(ModelError, match=r"file: .*conv1\.weight.* network has weight, bias"):
        load_into(paddle.nn.Linear(2, 3), {"conv1.weight": np.ones(3)}, "file")
