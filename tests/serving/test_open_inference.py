"""The Open Inference Protocol, by Triton's own client and by hand, against the predictor."""

from __future__ import annotations

import base64
import gzip
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import HTTPException
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from served import Running, picture, running, settings_for

from ppcls_sspcab.runtime.predictor import Predictor
from ppcls_sspcab.serving.routes.open_inference import accepted_coding, decompressed
from ppcls_sspcab.serving.routes.tensors import HEADER_LENGTH, pictures_of, read_request

INFER = "/v2/models/lamp/infer"
MOST, MOST_PIXELS = 8, 10_000
RANDOM = np.random.default_rng(3)
PIXELS = RANDOM.integers(0, 256, (3, 37, 21, 3), np.uint8)


@pytest.fixture(scope="module")
def predictor(model: Path) -> Predictor:
    return Predictor(model, "onnx", threads=1)


@pytest.fixture(scope="module")
def small(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that takes little at once."""
    folder = tmp_path_factory.mktemp("small")
    limits: dict[str, object] = {"body_mib": 0.25, "megapixels": 0.01, "pictures": MOST}
    with running(settings_for(model, folder, keep="none", **limits)) as found:
        yield found


def scores(predictor: Predictor, pictures: Any) -> list[float]:
    return [record.score for record in predictor.predict(pictures)]


def request_of(name: str, shape: list[int], data: Any, **more: Any) -> dict[str, Any]:
    kind = {"images": "UINT8", "files": "BYTES"}.get(name, name)
    return {"inputs": [{"name": name, "shape": shape, "datatype": kind, "data": data}], **more}


def by_name(answer: httpx.Response) -> dict[str, list[Any]]:
    assert answer.status_code == 200, answer.text
    return {output["name"]: output["data"] for output in answer.json()["outputs"]}


class TestTritonClient:
    """What Triton's own client sends and understands."""

    @pytest.fixture(scope="class")
    def triton(self) -> Any:
        return pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")

    @pytest.fixture
    def client(self, triton: Any, served: Running) -> Iterator[Any]:
        with triton.InferenceServerClient(f"127.0.0.1:{served.port}", concurrency=4) as client:
            yield client

    @staticmethod
    def raw(triton: Any, pixels: np.ndarray, binary: bool = True) -> Any:
        tensor = triton.InferInput("images", list(pixels.shape), "UINT8")
        return tensor.set_data_from_numpy(pixels, binary_data=binary)

    @staticmethod
    def files(triton: Any, contents: list[bytes]) -> Any:
        tensor = triton.InferInput("files", [len(contents)], "BYTES")
        return tensor.set_data_from_numpy(np.array(contents, dtype=np.object_))

    def test_health_and_metadata(self, client: Any) -> None:
        assert client.is_server_live() and client.is_server_ready()
        assert client.is_model_ready("lamp") and client.is_model_ready("lamp", "v-test")
        assert not client.is_model_ready("lamp", "2") and not client.is_model_ready("other")
        server = client.get_server_metadata()
        assert server["name"] == "ppcls_sspcab"
        assert server["extensions"] == ["binary_tensor_data"]
        for version in ("", "v-test"):
            assert client.get_model_metadata("lamp", version) == {
                "name": "lamp",
                "versions": ["v-test"],
                "platform": "ppcls_sspcab_onnx",
                "inputs": [
                    {"name": "images", "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
                    {"name": "files", "datatype": "BYTES", "shape": [-1]},
                ],
                "outputs": [
                    {"name": "score", "datatype": "FP32", "shape": [-1]},
                    {"name": "normalized_score", "datatype": "FP32", "shape": [-1]},
                    {"name": "threshold", "datatype": "FP32", "shape": [-1]},
                    {"name": "is_anomaly", "datatype": "BOOL", "shape": [-1]},
                    {"name": "id", "datatype": "BYTES", "shape": [-1]},
                    {"name": "error", "datatype": "BYTES", "shape": [-1]},
                    {"name": "map", "datatype": "FP32", "shape": [-1, 16, 24]},
                ],
            }

    @pytest.mark.parametrize("binary", [True, False])
    def test_raw_pixels_of_any_size(
        self, triton: Any, client: Any, predictor: Predictor, binary: bool
    ) -> None:
        found = client.infer("lamp", [self.raw(triton, PIXELS, binary)], request_id="abc")
        records = predictor.predict(PIXELS)
        for name in ("score", "normalized_score", "threshold"):
            expected = [getattr(record, name) for record in records]
            assert found.as_numpy(name) == pytest.approx(expected, rel=1e-5)
            assert found.as_numpy(name).dtype == np.float32
        anomalous = [record.is_anomaly for record in records]
        assert found.as_numpy("is_anomaly").tolist() == anomalous
        assert found.as_numpy("is_anomaly").dtype == bool
        assert found.as_numpy("error").tolist() == [b""] * 3
        assert found.as_numpy("map") is None
        answer = found.get_response()
        assert all("binary_data_size" in output["parameters"] for output in answer["outputs"])
        assert (answer["id"], answer["model_version"]) == ("abc", "v-test")

    def test_files(self, triton: Any, client: Any, served: Running, predictor: Predictor) -> None:
        contents = [picture(30), picture(220, (7, 90), "JPEG"), picture(140, (200, 3), "BMP")]
        parameters = {"station": "S7", "serial": 4711}
        found = client.infer("lamp", [self.files(triton, contents)], parameters=parameters)
        assert found.as_numpy("score") == pytest.approx(scores(predictor, contents), rel=1e-5)
        assert found.as_numpy("is_anomaly").tolist() == [False, True, True]
        ids = [one.decode() for one in found.as_numpy("id")]
        with served.client() as by_hand:
            rows = [by_hand.get(f"/v1/inspections/{one}").json() for one in ids]
        assert [row["path"] for row in rows] == ["files[0]", "files[1]", "files[2]"]
        assert {(row["station"], row["serial"]) for row in rows} == {("S7", "4711")}

    @pytest.mark.parametrize("binary", [True, False])
    def test_wanted_outputs_alone_and_in_their_order(
        self, triton: Any, client: Any, predictor: Predictor, binary: bool
    ) -> None:
        wanted = [
            triton.InferRequestedOutput(name, binary_data=binary and name != "id")
            for name in ("map", "id", "score", "is_anomaly")
        ]
        found = client.infer("lamp", [self.raw(triton, PIXELS)], outputs=wanted)
        names = [output["name"] for output in found.get_response()["outputs"]]
        assert names == ["map", "id", "score", "is_anomaly"]
        expected = np.stack([record.map for record in predictor.predict(PIXELS)])
        assert found.as_numpy("map").shape == (3, 16, 24)
        assert found.as_numpy("map") == pytest.approx(expected, rel=1e-5, abs=1e-7)
        assert all(len(one) == 32 for one in found.as_numpy("id"))

    @pytest.mark.parametrize("there", [None, "gzip", "deflate"])
    @pytest.mark.parametrize("back", [None, "gzip", "deflate"])
    def test_compressed_both_ways(
        self, triton: Any, client: Any, predictor: Predictor, there: str, back: str
    ) -> None:
        wanted = [triton.InferRequestedOutput(name) for name in ("map", "score")]
        found = client.infer(
            "lamp",
            [self.raw(triton, PIXELS)],
            outputs=wanted,
            request_compression_algorithm=there,
            response_compression_algorithm=back,
        )
        assert found.as_numpy("score") == pytest.approx(scores(predictor, PIXELS), rel=1e-5)
        assert found.as_numpy("map").shape == (3, 16, 24)

    def test_several_at_once(self, triton: Any, client: Any, predictor: Predictor) -> None:
        values = range(0, 240, 20)
        asked = [
            client.async_infer("lamp", [self.files(triton, [picture(value), picture(255 - value)])])
            for value in values
        ]
        for value, one in zip(values, asked, strict=True):
            expected = [value / 255, 1 - value / 255]
            assert one.get_result().as_numpy("score") == pytest.approx(expected, abs=1e-5)

    def test_an_error_is_the_clients_exception(self, triton: Any, client: Any) -> None:
        broken = self.files(triton, [picture(1), b"no picture", picture(2)])
        with pytest.raises(Exception, match=r"files\[1\].*no picture of a known kind") as caught:
            client.infer("lamp", [broken])
        assert "422" in str(caught.value)
        with pytest.raises(Exception, match="there is no model 'other'"):
            client.infer("other", [self.raw(triton, PIXELS)])


def test_json_data_may_be_flat_or_nested(served: Running, predictor: Predictor) -> None:
    pixels = PIXELS[:2, :5, :4]
    expected = scores(predictor, pixels)
    with served.client() as client:
        for data in (pixels.ravel().tolist(), pixels.tolist()):
            answer = client.post(INFER, json=request_of("images", [2, 5, 4, 3], data))
            assert by_name(answer)["score"] == pytest.approx(expected, rel=1e-5)
    assert "id" not in answer.json()
    assert HEADER_LENGTH not in answer.headers
    assert answer.headers["content-type"] == "application/json"


def test_files_in_json_are_base64_where_it_is_said(served: Running) -> None:
    text = base64.encodebytes(picture(204)).decode()
    whole = request_of("files", [1], [text], parameters={"content_type": "base64"})
    of_tensor = request_of("files", [1, 1], [[text]])
    of_tensor["inputs"][0]["parameters"] = {"content_type": "base64"}
    plain = "P3 1 1 255 204 204 204\n"  # a picture file that is text
    with served.client() as client:
        for request in (whole, of_tensor, request_of("files", [1], [plain])):
            assert by_name(client.post(INFER, json=request))["score"] == pytest.approx([0.8])
        unsaid = client.post(INFER, json=request_of("files", [1], [text]))
    assert unsaid.status_code == 422


def test_an_unjudged_picture_fails_the_request_and_all_are_stored(served: Running) -> None:
    contents = [picture(9), b"nothing", picture(250), b""]
    texts = [base64.b64encode(content).decode() for content in contents]
    parameters = {"content_type": "base64", "station": "unjudged here"}
    with served.client() as client:
        answer = client.post(INFER, json=request_of("files", [4], texts, parameters=parameters))
        stored = client.get("/v1/inspections/counts", params={"station": "unjudged here"}).json()
    assert answer.status_code == 422
    reasons = answer.json()["error"].split("; ")
    assert [reason.partition(":")[0] for reason in reasons] == ["files[1]", "files[3]"]
    assert stored == {"good": 1, "anomalous": 1, "unjudged": 2}


def test_a_failed_network_is_not_ready_and_answers_an_error(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(settings_for(model, tmp_path)) as served, served.client() as client:
        lamp = served.service.models["lamp"]

        def fail(pixels: np.ndarray) -> None:
            raise MemoryError("no memory")

        monkeypatch.setattr(lamp.batcher, "_run", fail)
        answer = client.post(INFER, json=request_of("images", [1, 1, 1, 3], [0, 0, 0]))
        assert answer.status_code == 422
        assert answer.json()["error"] == "images[0]: the network failed: no memory"
        for path in ("/v2/health/ready", "/v2/models/lamp/ready"):
            ready = client.get(path)
            assert ready.status_code == 503
            assert "lamp" in ready.json()["error"]
        assert client.get("/v2/health/live").json() == {"live": True}


def test_an_unknown_model_or_version_is_404(served: Running) -> None:
    with served.client() as client:
        for model in ("other", "lamp/versions/2", "lamp/versions/"):
            for path in (f"/v2/models/{model}", f"/v2/models/{model}/ready"):
                assert client.get(path).status_code == 404, path
            answer = client.post(f"/v2/models/{model}/infer", content=b"nonsense")
            assert answer.status_code == 404
            assert set(answer.json()) == {"error"}


def test_only_long_answers_are_compressed(served: Running) -> None:
    request = request_of("images", [1, 1, 1, 3], [9, 9, 9])
    with served.client() as client:
        short = client.post(INFER, json=request, headers={"Accept-Encoding": "gzip"})
        request["outputs"] = [{"name": "map"}]
        long = client.post(INFER, json=request, headers={"Accept-Encoding": "gzip"})
        plain = client.post(INFER, json=request, headers={"Accept-Encoding": "gzip;q=0, br"})
    assert "content-encoding" not in short.headers
    assert long.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert by_name(long) == by_name(plain)


def test_it_is_described(served: Running) -> None:
    schema = served.app.openapi()
    for version in ("", "/versions/{version}"):
        infer = schema["paths"][f"/v2/models/{{name}}{version}/infer"]["post"]
        assert set(infer["requestBody"]["content"]) == {
            "application/json",
            "application/octet-stream",
        }
        assert {"200", "400", "404", "413", "422", "503"} <= set(infer["responses"])
        parameters = {one["name"] for one in infer["parameters"]}
        assert parameters == {"name", HEADER_LENGTH, *(["version"] if version else [])}
    assert "$defs" not in json.dumps(schema)


GOOD = request_of("images", [1, 1, 2, 3], [0, 1, 2, 253, 254, 255])
TENSOR = GOOD["inputs"][0]


def changed(**more: Any) -> dict[str, Any]:
    return {"inputs": [{**TENSOR, **more}]}


def binary(size: Any, rest: int, **more: Any) -> tuple[bytes, dict[str, str]]:
    """A request whose tensor is said to be ``size`` bytes, of which ``rest`` are there."""
    tensor = {**TENSOR, "parameters": {"binary_data_size": size}, **more}
    tensor.setdefault("data", None)
    text = json.dumps({"inputs": [{k: v for k, v in tensor.items() if k != "data"}]}).encode()
    return text + bytes(rest), {HEADER_LENGTH: str(len(text))}


def headed(length: object) -> tuple[bytes, dict[str, str]]:
    return json.dumps(GOOD).encode(), {HEADER_LENGTH: str(length)}


def outputs(*names: Any) -> dict[str, Any]:
    return {**GOOD, "outputs": list(names)}


FILE = picture(1)
BOMB = gzip.compress(bytes(8 << 20))
Wrong = dict[str, Any] | bytes | tuple[bytes, dict[str, str]]
WRONG: dict[str, tuple[int, Wrong]] = {
    "an empty body": (400, b""),
    "no JSON": (400, b"{"),
    "no UTF-8": (400, b'{"id": "\xff"}'),
    "no object": (400, b"[]"),
    "nothing": (400, {}),
    "NaN": (400, b'{"inputs": [], "id": NaN}'),
    "nested deep": (400, b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a long number": (400, b'{"inputs": ' + b"1" * 10_000 + b"}"),
    "no input": (400, {"inputs": []}),
    "the same twice": (400, {"inputs": [TENSOR, TENSOR]}),
    "both inputs": (400, {"inputs": [TENSOR, request_of("files", [1], ["x"])["inputs"][0]]}),
    "a hundred inputs": (400, {"inputs": [TENSOR] * 100}),
    "an unknown input": (400, changed(name="pictures")),
    "a name with half a letter": (400, b'{"inputs": [{"name": "\\ud800", "shape": [1], '
                                       b'"datatype": "\\udc00", "data": []}]}'),
    "another datatype": (400, changed(datatype="FP32")),
    "BYTES as images": (400, changed(datatype="BYTES")),
    "no shape": (400, {"inputs": [{"name": "images", "datatype": "UINT8", "data": [1]}]}),
    "a shape of three": (400, changed(shape=[1, 2, 3])),
    "a shape of a hundred": (400, changed(shape=[1] * 100)),
    "four channels": (400, changed(shape=[1, 1, 1, 4])),
    "a negative size": (400, changed(shape=[1, -1, -2, 3])),
    "a size of 0": (400, changed(shape=[0, 1, 2, 3])),
    "a size that is no whole number": (400, changed(shape=[1, 1, 2.5, 3])),
    "a size that is true": (400, changed(shape=[True, 1, 2, 3])),
    "a huge size": (413, changed(shape=[1, 2**70, 2**70, 3])),
    "a long size": (400, changed(shape=[1, 1, 10**4000, 4])),
    "many pictures": (413, changed(shape=[MOST + 1, 1, 2, 3])),
    "many pixels": (413, changed(shape=[1, 101, 100, 3], data=[])),
    "too few data": (400, changed(data=[1] * 5)),
    "too many data": (400, changed(data=[1] * 7)),
    "no data": (400, changed(data=None)),
    "a text as data": (400, changed(data="AAAAAA")),
    "texts as data": (400, changed(data=["1"] * 6)),
    "fractions as data": (400, changed(data=[1.0] * 6)),
    "data above 255": (400, changed(data=[256] * 6)),
    "data far above 255": (400, changed(data=[2**80] * 6)),
    "data below 0": (400, changed(data=[-1] * 6)),
    "data nested otherwise": (400, changed(data=[[[[1, 2], [3, 4], [5, 6]]]])),
    "data nested more": (400, changed(data=[[[[[1], [2], [3]], [[4], [5], [6]]]]])),
    "data nested here and there": (400, changed(data=[1, [2], 3, 4, 5, 6])),
    "shared memory": (400, changed(parameters={"shared_memory_region": "a"})),
    "parameters that are no object": (400, changed(parameters=[])),
    "data and binary": (400, changed(parameters={"binary_data_size": 6})),
    "binary that is not there": (400, binary(6, 0)),
    "binary that is longer": (400, binary(6, 7)),
    "binary that is shorter": (400, binary(6, 5)),
    "binary of another shape": (400, binary(5, 5)),
    "a negative binary size": (400, binary(-6, 6)),
    "a huge binary size": (400, binary(2**80, 6)),
    "a binary size in words": (400, binary("6", 6)),
    "a binary size of true": (400, binary(True, 1)),
    "bytes behind data": (400, (json.dumps(GOOD).encode() + b"x",
                                {HEADER_LENGTH: str(len(json.dumps(GOOD)))})),
    "a header length beyond the body": (400, headed(10_000)),
    "a negative header length": (400, headed(-1)),
    "a header length in words": (400, headed("all")),
    "a huge header length": (400, headed("9" * 5_000)),
    "a header length of 0": (400, headed(0)),
    "a short header length": (400, headed(20)),
    "files of another count": (400, request_of("files", [2], ["P3"])),
    "files that are numbers": (400, request_of("files", [2], [1, 2])),
    "files of two dimensions": (400, request_of("files", [1, 2], ["a", "b"])),
    "many files": (413, request_of("files", [MOST + 1], ["a"] * (MOST + 1))),
    "half a letter as a file": (400, b'{"inputs": [{"name": "files", "shape": [1], '
                                     b'"datatype": "BYTES", "data": ["\\ud800"]}]}'),
    "no base64": (400, request_of("files", [1], ["?"], parameters={"content_type": "base64"})),
    "a binary file without length": (400, binary(3, 3, name="files", shape=[1], datatype="BYTES")),
    "binary files of another count": (400, binary(12, 12, name="files", shape=[2],
                                                  datatype="BYTES")),
    "an unknown output": (400, outputs({"name": "embedding"})),
    "an output twice": (400, outputs({"name": "score"}, {"name": "score"})),
    "a class count": (400, outputs({"name": "score", "parameters": {"classification": 3}})),
    "an output in shared memory": (
        400, outputs({"name": "score", "parameters": {"shared_memory_region": "a"}})),
    "an output that is a name": (400, outputs("score")),
    "a long station": (400, {**GOOD, "parameters": {"station": "x" * 201}}),
    "a station that is a list": (400, {**GOOD, "parameters": {"station": []}}),
    "a long id": (400, {**GOOD, "id": "x" * 2_000}),
    "an id that is a number": (400, {**GOOD, "id": 4}),
    "an unknown coding": (415, (b"", {"Content-Encoding": "br"})),
    "two codings": (415, (b"", {"Content-Encoding": "gzip, gzip"})),
    "no gzip": (400, (b"{}", {"Content-Encoding": "gzip"})),
    "nothing as gzip": (400, (b"", {"Content-Encoding": "gzip"})),
    "half a gzip": (400, (gzip.compress(json.dumps(GOOD).encode())[:-9],
                          {"Content-Encoding": "gzip"})),
    "gzip and more": (400, (gzip.compress(b"{}") * 2, {"Content-Encoding": "gzip"})),
    "gzip as deflate": (400, (gzip.compress(b"{}"), {"Content-Encoding": "deflate"})),
    "a bomb": (413, (BOMB, {"Content-Encoding": "gzip"})),
    "another bomb": (413, (zlib.compress(bytes(8 << 20)), {"Content-Encoding": "deflate"})),
    "a bomb in a bomb": (400, (gzip.compress(BOMB), {"Content-Encoding": "gzip"})),
}  # fmt: skip


@pytest.mark.parametrize(("status", "request_"), WRONG.values(), ids=WRONG)
def test_a_malformed_request_says_what_is_wrong(
    small: Running, status: int, request_: Wrong
) -> None:
    headers: dict[str, str] = {}
    if isinstance(request_, tuple):
        content, headers = request_
    else:
        content = request_ if isinstance(request_, bytes) else json.dumps(request_).encode()
    with small.client() as client:
        answer = client.post(INFER, content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    assert 5 < len(answer.json()["error"]) < 500


def test_the_good_request_of_the_table_is_good(small: Running, predictor: Predictor) -> None:
    content, headers = binary(6, 6)
    with small.client() as client:
        answer = client.post(INFER, json={**GOOD, "id": "Los 7\0\n\u00fc"})
        found = by_name(answer)
        black = by_name(client.post(INFER, content=content, headers=headers))
        largest = request_of("images", [1, 100, 100, 3], [7] * 30_000)
        assert by_name(client.post(INFER, json=largest))["is_anomaly"] == [False]
    pixels = np.array(TENSOR["data"], np.uint8).reshape(1, 1, 2, 3)
    assert found["score"] == pytest.approx(scores(predictor, pixels), rel=1e-5)
    assert black["score"] == pytest.approx([0], abs=1e-6)
    assert answer.json()["id"] == "Los 7\0\n\u00fc"


def test_texts_with_half_a_letter_are_no_error_of_the_service(small: Running) -> None:
    for where in ({"id": "\ud800"}, {"parameters": {"station": "\ud800", "\udc00": 1}}):
        with small.client() as client:
            answer = client.post(INFER, content=json.dumps({**GOOD, **where}))
        assert answer.status_code in (200, 400), answer.text


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
ANYTHING = st.recursive(
    PLAIN, lambda more: st.lists(more, max_size=5) | st.dictionaries(st.text(max_size=5), more)
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, str | None]:
    """A good request, of which a few places hold anything."""
    request: Any = json.loads(json.dumps({
        **GOOD, "id": "a", "parameters": {"station": "b", "content_type": "base64"},
        "outputs": [{"name": "score", "parameters": {"binary_data": True}}],
    }))  # fmt: skip
    binary_data = draw(st.booleans())
    if binary_data:
        del request["inputs"][0]["data"]
        request["inputs"][0]["parameters"] = {"binary_data_size": 6}
    if draw(st.booleans()):
        request["inputs"][0].update(name="files", datatype="BYTES", shape=[1])
    for _ in range(draw(st.integers(0, 3))):
        place = request
        while isinstance(place, (dict, list)) and place:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys))
            if draw(st.booleans()):
                place[key] = draw(ANYTHING)
                break
            place = place[key]
    text = json.dumps(request).encode()
    rest = draw(st.binary(max_size=12)) if binary_data else b""
    length = draw(st.sampled_from([str(len(text)), None, "", "-1", str(len(text) + 1)]))
    return text + rest, length


@given(requests())
@example((struct.pack("<I", 2**32 - 1), "0"))
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_a_request_of_any_kind_is_pictures_or_an_error_of_the_caller(
    asked: tuple[bytes, str | None],
) -> None:
    body, length = asked
    try:
        request, rest = read_request(body, length)
        found = pictures_of(request, rest, MOST, MOST_PIXELS)
    except HTTPException as error:
        assert error.status_code in (400, 413)
        json.dumps(error.detail, ensure_ascii=False).encode()
    else:
        assert 1 <= len(found) <= MOST
        assert all(isinstance(one.content, (bytes, np.ndarray)) for one in found)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=MOST), st.booleans())
def test_files_come_out_as_they_went_in(contents: list[bytes], in_binary: bool) -> None:
    texts = [base64.b64encode(content).decode() for content in contents]
    asked = request_of("files", [len(contents)], texts, parameters={"content_type": "base64"})
    rest = b""
    if in_binary:
        rest = b"".join(struct.pack("<I", len(one)) + one for one in contents)
        del asked["inputs"][0]["data"]
        asked["inputs"][0]["parameters"] = {"binary_data_size": len(rest)}
    text = json.dumps(asked).encode()
    request, found = read_request(text + rest, str(len(text)))
    pictures = pictures_of(request, found, MOST, MOST_PIXELS)
    assert [one.content for one in pictures] == contents


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_body_of_just_the_limit_is_decompressed(coding: str) -> None:
    compress: Callable[[bytes], bytes] = {"gzip": gzip.compress, "deflate": zlib.compress}[coding]
    assert decompressed(compress(bytes(1000)), coding, 1000) == bytes(1000)
    with pytest.raises(HTTPException, match="larger than 1000 bytes") as caught:
        decompressed(compress(bytes(1001)), coding, 1000)
    assert caught.value.status_code == 413


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("", None),
        ("identity", None),
        ("br, zstd", None),
        ("gzip", "gzip"),
        ("Deflate, gzip", "deflate"),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", "gzip"),
        ("gzip;q=0, deflate; q=0.5", "deflate"),
        ("gzip;q=0.000", None),
    ],
)
def test_the_coding_of_an_answer_is_one_that_is_accepted(header: str, coding: str | None) -> None:
    assert accepted_coding(header) == coding
