"""A service of a model whose score is known without it: the mean brightness of a picture."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import paddle
import uvicorn
from fastapi import FastAPI
from paddle import nn
from PIL import Image

from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.serving.app import create_app
from ppcls_sspcab.serving.service import Service
from ppcls_sspcab.serving.settings import Settings

PREPROCESS = Preprocess(image_size=(16, 24))


class Brightness(nn.Layer):
    """Score and map are brightness in 0..1; the threshold is 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", paddle.to_tensor(PREPROCESS.mean).reshape([1, 3, 1, 1]))
        self.register_buffer("std", paddle.to_tensor(PREPROCESS.std).reshape([1, 3, 1, 1]))
        self.register_buffer("threshold", paddle.full([], 0.5))
        self.register_buffer("scale", paddle.full([], 0.1))

    def forward(self, images: paddle.Tensor) -> dict[str, paddle.Tensor]:
        anomaly_map = (images * self.std + self.mean).mean(axis=1)
        score = anomaly_map.mean(axis=[1, 2])
        deviation = (score - self.threshold) / self.scale
        normalized = 0.5 + 0.5 * deviation / (1.0 + deviation.abs())
        return {"score": score, "normalized_score": normalized, "map": anomaly_map}


def picture(value: int, size: tuple[int, int] = (24, 16), kind: str = "PNG") -> bytes:
    """A grey picture file of one brightness, 0..255."""
    stream = io.BytesIO()
    Image.new("RGB", size, (value,) * 3).save(stream, kind)
    return stream.getvalue()


@dataclass
class Running:
    """A server on a loopback port, in a thread of this process."""

    url: str
    service: Service
    app: FastAPI

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30)


def settings_for(model: Path, folder: Path, **more: object) -> Settings:
    """ONNX Runtime with one thread, everything kept below ``folder``."""
    values: dict[str, object] = {
        "models": {"lamp": str(model)},
        "backend": "onnx",
        "threads": 1,
        "database": f"sqlite:///{folder / 'inspections.db'}",
        "store": folder / "pictures",
        "keep": "all",
    }
    return Settings(**(values | more))  # type: ignore[arg-type]


@contextmanager
def running(settings: Settings, **more: object) -> Iterator[Running]:
    """Serves as ``ppcls-sspcab serve`` does, without its process."""
    service = Service.open(settings)
    app = create_app(service, **more)  # type: ignore[arg-type]
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        wait_for(lambda: server.started or not thread.is_alive())
        assert server.started
        try:
            yield Running(f"http://127.0.0.1:{listening.getsockname()[1]}", service, app)
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def wait_for(found: Callable[[], object], seconds: float = 30) -> None:
    """Returns as soon as something is true; fails where it does not become so."""
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


class Process:
    """``ppcls-sspcab serve``, or a command that ends in it, as a process with its log in a file."""

    def __init__(
        self,
        folder: Path,
        words: list[str],
        command: Sequence[str] = (sys.executable, "-m", "ppcls_sspcab", "serve"),
        **environment: str,
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "serve.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port), *words],
                stdout=log,
                stderr=log,
                cwd=folder,
                env={**os.environ, **environment},
            )

    def wait_until_ready(self, seconds: float = 60) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
            try:
                return httpx.get(f"{self.url}/health/ready").status_code == 200
            except httpx.TransportError:
                return False

        wait_for(ready, seconds)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *raised: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
