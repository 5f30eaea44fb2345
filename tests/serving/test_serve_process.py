"""``ppcls-sspcab serve`` as a process: its start, its end, and what a kill leaves."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from served import Process, picture, wait_for

from ppcls_sspcab.cli import main as cli
from ppcls_sspcab.runtime.predictor import Predictor

PREDICT = "/v1/models/lamp/predict"
KILLS = int(os.environ.get("SSPCAB_KILLS", "10"))

pytestmark = pytest.mark.slow


def words(model: Path, *more: str) -> list[str]:
    return ["--model", f"lamp={model}", "--backend", "onnx", "--threads", "1", *more]


def stored(folder: Path) -> Counter[str]:
    """Ids of the database's file, each with how often it is there."""
    with sqlite3.connect(folder / "inspections.db") as connection:
        return Counter(row[0] for row in connection.execute("select id from inspections"))


class Load:
    """Callers that ask until they are stopped, and remember which ids they were answered."""

    def __init__(self, url: str, callers: int = 4) -> None:
        self.answered: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=[url]) for _ in range(callers)]
        for thread in self._threads:
            thread.start()

    def _ask(self, url: str) -> None:
        with httpx.Client(base_url=url, timeout=10) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post(PREDICT, content=picture(random.randrange(256)))
                except httpx.TransportError:
                    continue
                if answer.status_code == 200:
                    self.answered.append(answer.json()["inspections"][0]["id"])

    def stop(self) -> list[str]:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        return self.answered


def test_a_kill_at_any_moment_loses_and_doubles_no_answered_inspection(
    model: Path, tmp_path: Path
) -> None:
    rng, answered = random.Random(0), []
    for _ in range(KILLS):
        with Process(tmp_path, words(model, "--store", "pictures", "--keep", "all")) as served:
            served.wait_until_ready()
            load = Load(served.url)
            time.sleep(rng.uniform(0.05, 0.8))
            served.process.kill()
            served.process.wait(30)
            answered += load.stop()
    found = stored(tmp_path)
    assert len(answered) > 50
    assert len(set(answered)) == len(answered)
    assert set(answered) <= set(found)
    assert set(found.values()) == {1}
    with sqlite3.connect(tmp_path / "inspections.db") as connection:
        kept = [row[0] for row in connection.execute("select picture from inspections")]
    assert all((tmp_path / "pictures" / path).stat().st_size > 0 for path in kept)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_answers_what_was_taken(model: Path, tmp_path: Path, number: int) -> None:
    with Process(tmp_path, words(model)) as served:
        served.wait_until_ready()
        answers: list[httpx.Response] = []

        def ask() -> None:
            large = picture(200, size=(6000, 6000))
            answers.append(httpx.post(served.url + PREDICT, content=large, timeout=30))

        callers = [threading.Thread(target=ask) for _ in range(4)]
        for caller in callers:
            caller.start()
        wait_for(lambda: waiting(served) == len(callers))
        served.process.send_signal(number)
        for caller in callers:
            caller.join(30)
        assert served.process.wait(30) == 0
    assert [answer.status_code for answer in answers] == [200] * 4
    ids = {answer.json()["inspections"][0]["id"] for answer in answers}
    assert ids <= set(stored(tmp_path))


def waiting(served: Process) -> float:
    """Pictures that the service has taken and not answered."""
    text = httpx.get(f"{served.url}/metrics", timeout=10).text
    (line,) = [one for one in text.splitlines() if one.startswith("sspcab_queue_pictures{")]
    return float(line.split()[-1])


def test_the_log_is_lines_of_json_with_the_request_id(model: Path, tmp_path: Path) -> None:
    with Process(tmp_path, words(model)) as served:
        served.wait_until_ready()
        headers = {"X-Request-ID": "line-7.42"}
        httpx.post(served.url + PREDICT, content=picture(1), headers=headers, timeout=10)
        httpx.get(served.url + "/no%0Athing", timeout=10)
        served.process.terminate()
        assert served.process.wait(30) == 0
    lines = [json.loads(line) for line in served.log.read_text(encoding="utf-8").splitlines()]
    assert lines[0]["message"] == f"lamp: served at {served.url}/v1/models"
    (asked,) = [line for line in lines if line.get("request_id") == "line-7.42"]
    assert (asked["method"], asked["path"], asked["status"]) == ("POST", PREDICT, 200)
    assert asked["ms"] > 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--host", "0.0.0.0"], "--token-file FILE is needed"),
        (["--host", "not.a.host.invalid"], "--token-file FILE is needed"),
        (["--model", "lamp=elsewhere"], "stands there twice"),
        (["--model", "a/b=elsewhere"], "may hold letters"),
        (["--model", "other=nowhere"], "no inference.yml there"),
        (["--database", "sqlite:////dev/null/all.db"], "/dev/null/all.db"),
        (["--database", "mysql://user:secret@host/name"], "mysql"),
        (["--keep", "some", "--store", "pictures"], "some"),
        (["--tls-cert", "a.pem"], "belong together"),
        (["--queue", "3"], "would never be taken"),
        (["--token-file", "missing"], "missing"),
    ],
)
def test_a_mistake_is_one_line(model: Path, tmp_path: Path, more: list[str], said: str) -> None:
    command = [sys.executable, "-m", "ppcls_sspcab", "serve", "--port", "0", *words(model), *more]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "secret" not in done.stderr


@pytest.mark.parametrize(
    "words", [["--port", "99999"], ["--port", "-5"], ["--rate", "-1"], ["--rate", "nan"]]
)
def test_a_value_out_of_range_is_a_mistake(words: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["serve", "--model", "lamp=nowhere", *words])
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_a_taken_port_is_said(model: Path, tmp_path: Path) -> None:
    with Process(tmp_path, words(model)) as served:
        served.wait_until_ready()
        command = [sys.executable, "-m", "ppcls_sspcab", "serve", "--port", str(served.port)]
        done = subprocess.run(
            [*command, *words(model)], capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 2
    assert "cannot listen there" in done.stderr


def test_beyond_loopback_tokens_and_tls(model: Path, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    tokens = tmp_path / "tokens"
    tokens.write_text("read reading-token-0001\noperate operating-token-01\n", encoding="utf-8")
    tokens.chmod(0o600)
    more = ["--host", "0.0.0.0", "--token-file", "tokens"]
    more += ["--tls-cert", "cert.pem", "--tls-key", "key.pem"]
    trusted = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    with Process(tmp_path, words(model, *more)) as served:
        url = f"https://localhost:{served.port}"

        def ready() -> bool:
            try:
                return httpx.get(f"{url}/health/ready", verify=trusted).status_code == 200
            except httpx.TransportError:
                return False

        wait_for(ready, 60)

        def asked(token: str, method: str = "POST", path: str = PREDICT) -> int:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            content = picture(1) if method == "POST" else None
            return httpx.request(
                method, url + path, content=content, headers=headers, verify=trusted
            ).status_code

        assert asked("") == asked("no-such-token-at-all") == 401
        assert asked("reading-token-0001") == 403
        assert asked("operating-token-01") == 200
        assert asked("reading-token-0001", "GET", "/v1/inspections") == 200
        assert asked("", "GET", "/v1/inspections") == asked("", "GET", "/metrics") == 401


@pytest.mark.parametrize("backend", ["paddle", "onnx", "openvino"])
def test_every_runtime_gives_what_predict_gives(model: Path, tmp_path: Path, backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino", reason="the runtime is not installed")
    expected = Predictor(model, backend, threads=1).predict([picture(77)])[0]  # type: ignore[arg-type]
    with Process(tmp_path, ["--model", f"lamp={model}", "--backend", backend]) as served:
        served.wait_until_ready()
        answer = httpx.post(served.url + PREDICT, content=picture(77), timeout=30).json()
    (one,) = answer["inspections"]
    assert one["backend"] == backend
    assert one["score"] == pytest.approx(expected.score, rel=1e-6)
