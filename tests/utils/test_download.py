"""Published weights: fetched by https when asked for, the address told, the hash checked."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest

from ppcls_sspcab.arch.backbones import build_backbone
from ppcls_sspcab.errors import ModelError
from ppcls_sspcab.utils.download import published_weights
from ppcls_sspcab.utils.logger import get_logger

URL = "https://example.org/models/net.pdparams"


class Server:
    """Stands for Paddle's download: ``content`` is what the address gives."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.content, self.asked = folder, b"weights", []

    def get(self, url: str, root: str, md5sum: str | None, **options: Any) -> str:
        assert options == {"decompress": False}  # an archive is not unpacked into the cache
        self.asked.append((url, md5sum))
        path = self.folder / url.rpartition("/")[2]
        path.write_bytes(self.content)
        return str(path)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server(tmp_path)
    monkeypatch.setattr("paddle.utils.download.get_path_from_url", found.get)
    monkeypatch.setattr(get_logger(), "propagate", True)
    return found


def test_the_address_is_told_and_the_hash_checked(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    right = hashlib.md5(server.content).hexdigest()
    with caplog.at_level(logging.INFO):
        assert Path(published_weights(URL, right)).read_bytes() == server.content
    assert URL in caplog.text
    server.content = b"other"
    with pytest.raises(ModelError, match="MD5 differs"):
        published_weights(URL, right)


def test_without_a_published_hash_the_first_file_is_held_to(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    published_weights(URL, None)
    assert hashlib.sha256(b"weights").hexdigest() in caplog.text
    published_weights(URL, None)
    server.content = b"other"
    with pytest.raises(ModelError, match="SHA-256 differs"):
        published_weights(URL, None)


def test_another_scheme_is_not_asked_at_all(server: Server) -> None:
    for url in ("http://example.org/net.pdparams", "file:///etc/passwd"):
        with pytest.raises(ModelError, match="https only"):
            published_weights(url, None)
    assert not server.asked


def test_no_connection_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no route")

    monkeypatch.setattr("paddle.utils.download.get_path_from_url", fail)
    with pytest.raises(ModelError, match=r"resnet18.*no route.*Arch\.pretrained"):
        build_backbone({"name": "resnet18"}, True)


def test_a_backbone_takes_what_was_published(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = paddle.vision.models.resnet18()
    arrays = {name: value.numpy() for name, value in original.state_dict().items()}
    server.content = pickle.dumps(arrays)
    address = paddle.vision.models.resnet.model_urls["resnet18"][0]
    digest = hashlib.md5(server.content).hexdigest()
    monkeypatch.setitem(paddle.vision.models.resnet.model_urls, "resnet18", (address, digest))
    layer = build_backbone({"name": "resnet18"}, True)
    assert server.asked == [(address, digest)]
    np.testing.assert_array_equal(layer.conv1.weight.numpy(), arrays["conv1.weight"])


class Malicious:
    def __reduce__(self) -> Any:
        return os.mkdir, ("was-here",)


def test_what_was_published_is_not_trusted_either(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server.content = pickle.dumps({"conv1.weight": Malicious()})
    digest = hashlib.md5(server.content).hexdigest()
    monkeypatch.setitem(paddle.vision.models.resnet.model_urls, "resnet18", (URL, digest))
    with pytest.raises(ModelError, match="refused"):
        build_backbone({"name": "resnet18"}, True)
    assert not Path("was-here").exists()


def test_only_pretrained_true_asks_for_anything(server: Server) -> None:
    build_backbone({"name": "resnet18"}, False)
    assert not server.asked
