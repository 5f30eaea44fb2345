"""The inspection service beside the bare predictor, and beside an endpoint written by hand.

``python benchmarks/serve.py --model DIR --pictures FOLDER --output FILE.md`` sends the same picture
files, in turn, to

* the predictor of the export without a server, in batches of as many pictures as there are callers;
* ``ppcls-sspcab serve`` with ONNX Runtime, every verdict a row on disk before it is answered;
* a plain FastAPI endpoint that decodes and runs ONNX Runtime for each request, and keeps nothing.

Callers run in this process, so they take their share of the same cores; each sends its next picture
when it has its answer. The wait under load is measured at a share of the service's own throughput,
from when each picture was due: with arrivals in step, as a line makes them, and by chance
(Poisson). ``--requests 100000`` instead sends so many and prints the service's memory on the way.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import (
    in_turns,
    own_worker,
    parser,
    publish,
    serve,
    users_environment,
    verdict,
)
from ppcls_sspcab.utils.table import markdown_table

CALLERS = (1, 8, 64)
LEAST_SHARE, LEAST_GAIN, MOST_WAIT, MOST_GROWTH = 0.9, 1.5, 3.0, 0.02
LOAD = 0.8
_BARE, _SERVICE, _BY_HAND = "predictor", "service", "by hand"
_PATHS = {_SERVICE: "/v1/models/part/predict", _BY_HAND: "/predict"}


def main() -> int:
    """Writes the tables."""
    found = parser(__doc__ or "")
    found.add_argument("--model", required=True, help="folder that 'export --format onnx' wrote")
    found.add_argument("--pictures", required=True, help="folder of picture files")
    found.add_argument("--seconds", type=float, default=5, help="of each measurement")
    found.add_argument("--requests", type=int, help="only send so many, and watch the memory")
    found.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = found.parse_args()
    bodies = _files(options.pictures)
    if options.worker == _BARE:
        bare = _bare(options.model, bodies, options.seconds)
        serve({"network": lambda: bare(0), **{str(n): lambda n=n: bare(n) for n in CALLERS}})
    elif options.worker == _BY_HAND:
        _run_by_hand(options.model, options.port)
    elif options.requests:
        with _served(_SERVICE, options) as (port, process):
            parts = [_growth(port, process.pid, bodies, options.requests)]
        publish("The service's memory", parts, options.output, how="One run.")
    else:
        publish("The inspection service", _compare(options, bodies), options.output)
    return 0


def _compare(options: argparse.Namespace, bodies: Sequence[bytes]) -> list[str]:
    worker = own_worker(
        __file__,
        ["--worker", _BARE, *_same(options), "--seconds", str(options.seconds)],
        launcher=True,
    )
    rows, tops = [], {}
    with (
        _served(_SERVICE, options) as (service, _),
        _served(_BY_HAND, options) as (by_hand, _),
    ):
        for callers in CALLERS:

            def asked(port: int, name: str, callers: int = callers) -> float:
                return asyncio.run(
                    _throughput(port, _PATHS[name], bodies, callers, options.seconds)
                )

            speeds = in_turns(
                {
                    _BARE: lambda callers=callers: worker.ask(str(callers)),
                    _SERVICE: lambda: asked(service, _SERVICE),
                    _BY_HAND: lambda: asked(by_hand, _BY_HAND),
                },
                options.rounds,
            )
            rows.append(_row(callers, speeds))
            tops[callers] = statistics.median(speeds[_SERVICE])
        network = statistics.median(worker.ask("network") for _ in range(options.rounds))
        rate = LOAD * tops[CALLERS[1]]
        waits = {
            name: asyncio.run(
                _arrivals(service, _PATHS[_SERVICE], bodies, gaps, 4 * options.seconds)
            )
            for name, gaps in {
                "in step": lambda: 1 / rate,
                "by chance": partial(random.Random(0).expovariate, rate),
            }.items()
        }
    worker.close()
    text = (
        f"Under {LOAD:.0%} of the service's throughput with {CALLERS[1]} callers, {rate:.1f} "
        f"pictures a second; the network alone takes {1000 * network:.0f} ms for one picture."
    )
    waiting = [_waited(name, found, network) for name, found in waits.items()]
    columns = ["arrivals", "pictures", "half answered in, ms", "99 % answered in, ms"]
    columns += ["of the network's time", f"at most {MOST_WAIT:g}"]
    return [markdown_table(_header(), rows), text, markdown_table(columns, waiting)]


def _header() -> list[str]:
    found = ["callers", *(f"{name}, pictures a second" for name in (_BARE, _SERVICE, _BY_HAND))]
    found += ["of the predictor", f"at least {LEAST_SHARE:g}", "times by hand"]
    found += [f"at least {LEAST_GAIN:g} with 8 callers"]
    return found


def _waited(name: str, waits: Sequence[float], network: float) -> list[str]:
    half, most = (float(value) for value in np.percentile(waits, [50, 99]))
    reached = verdict(most / network, MOST_WAIT, lower_is_better=True)
    cells = [f"{1000 * half:.0f}", f"{1000 * most:.0f}", f"{most / network:.1f}"]
    return [name, str(len(waits)), *cells, reached]


def _row(callers: int, speeds: dict[str, list[float]]) -> list[str]:
    shares = [a / b for a, b in zip(speeds[_SERVICE], speeds[_BARE], strict=True)]
    gains = [a / b for a, b in zip(speeds[_SERVICE], speeds[_BY_HAND], strict=True)]
    share, gain = statistics.median(shares), statistics.median(gains)
    medians = [f"{statistics.median(speeds[name]):.1f}" for name in (_BARE, _SERVICE, _BY_HAND)]
    wanted = verdict(gain, LEAST_GAIN) if callers == CALLERS[1] else ""
    return [
        str(callers),
        *medians,
        f"{share:.2f}",
        verdict(share, LEAST_SHARE),
        f"{gain:.2f}",
        wanted,
    ]


def _growth(port: int, process: int, bodies: Sequence[bytes], requests: int) -> str:
    import psutil

    rows, first = [], 0.0
    for step in range(1, 11):
        asyncio.run(_throughput(port, _PATHS[_SERVICE], bodies, 8, count=requests // 10))
        mib = psutil.Process(process).memory_info().rss / 2**20
        first = first or mib
        rows.append([str(step * (requests // 10)), f"{mib:.1f}", f"{mib / first - 1:+.1%}"])
    reached = verdict(mib / first - 1, MOST_GROWTH, lower_is_better=True)
    table = markdown_table(("requests answered", "resident memory, MiB", "grown since"), rows)
    return f"{table}\n\nAt most {MOST_GROWTH:.0%} were wanted: {reached}."


@contextmanager
def _served(
    name: str, options: argparse.Namespace
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The port and the process of a server that answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        if name == _SERVICE:
            words = [
                "-m",
                "ppcls_sspcab",
                "serve",
                "--model",
                f"part={Path(options.model).resolve()}",
            ]
            words += ["--backend", "onnx", "--port", str(port)]
        else:
            words = [str(Path(__file__).resolve()), "--worker", name, *_same(options)]
            words += ["--port", str(port)]
        process = subprocess.Popen(
            [sys.executable, *words],
            env=users_environment(),
            cwd=folder,
            stderr=subprocess.DEVNULL,
        )
        try:
            while process.poll() is None:
                with socket.socket() as trial:
                    if trial.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            time.sleep(1)
            yield port, process
        finally:
            process.terminate()
            process.wait()


def _same(options: argparse.Namespace) -> list[str]:
    pictures, model = Path(options.pictures).resolve(), Path(options.model).resolve()
    return ["--model", str(model), "--pictures", str(pictures)]


def _files(folder: str) -> list[bytes]:
    from ppcls_sspcab.image.sources import find_pictures

    return [Path(path).read_bytes() for path in find_pictures([folder])[:200]]


def _bare(model: str, bodies: Sequence[bytes], seconds: float):  # type: ignore[no-untyped-def]
    from ppcls_sspcab.runtime.predictor import Predictor

    predictor = Predictor(model, "onnx")

    def speed(callers: int) -> float:
        """Pictures a second in batches; of 0 callers, the seconds of one run for one picture."""
        if callers == 0:
            pixels = np.zeros((1, *predictor.card.preprocess.image_size, 3), np.uint8)
            given = predictor.prepare(pixels)
            times = []
            for _ in range(20):
                start = time.perf_counter()
                predictor.network.run(given)
                times.append(time.perf_counter() - start)
            return statistics.median(times)
        start, judged = time.perf_counter(), 0
        size = min(callers, 8)
        for _ in predictor.stream(cycle(bodies), size):
            judged += 1
            if time.perf_counter() - start > seconds:
                break
        return judged / (time.perf_counter() - start)

    return speed


def _run_by_hand(model: str, port: int) -> None:
    """What people write: a session, a route, and a run for each request."""
    import onnxruntime
    import uvicorn
    from fastapi import Body, FastAPI

    from ppcls_sspcab.paths import ONNX_FILE
    from ppcls_sspcab.runtime.card import InferenceCard

    card = InferenceCard.read(model)
    session = onnxruntime.InferenceSession(
        str(Path(model) / ONNX_FILE), providers=["CPUExecutionProvider"]
    )
    app = FastAPI()

    @app.post("/predict")
    def predict(content: bytes = Body(media_type="application/octet-stream")) -> dict:
        pixels = card.preprocess.load(content)[None]
        given = pixels if card.input_type == "uint8" else card.preprocess.normalize(pixels)
        (score,) = session.run(["score"], {"images": given})
        return {"score": float(score[0]), "is_anomaly": bool(score[0] > card.threshold)}

    uvicorn.run(app, port=port, log_level="warning")


async def _throughput(
    port: int,
    path: str,
    bodies: Sequence[bytes],
    callers: int,
    seconds: float = float("inf"),
    count: float = float("inf"),
) -> float:
    """Answers a second, of callers that each wait for theirs."""
    pictures, answered = cycle(bodies), 0
    start = time.perf_counter()

    async def call() -> None:
        nonlocal answered
        connection = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() - start < seconds and answered < count:
            await _post(connection, path, next(pictures))
            answered += 1
        connection[1].close()

    await asyncio.gather(*(call() for _ in range(callers)))
    return answered / (time.perf_counter() - start)


async def _arrivals(
    port: int, path: str, bodies: Sequence[bytes], gap: Callable[[], float], seconds: float
) -> list[float]:
    """Seconds from when each picture was due to its answer."""
    pictures = cycle(bodies)
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    waits: list[float] = []

    async def ask(due: float) -> None:
        connection = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        await _post(connection, path, next(pictures))
        idle.append(connection)
        waits.append(time.perf_counter() - due)

    start = due = time.perf_counter()
    tasks = []
    while due < start + seconds:
        due += gap()
        await asyncio.sleep(max(0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(due)))
    await asyncio.gather(*tasks)
    for _, writer in idle:
        writer.close()
    return waits


async def _post(
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], path: str, body: bytes
) -> None:
    reader, writer = connection
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    status = int(answer.split(b" ", 2)[1])
    lengths = [
        int(line.split(b":")[1])
        for line in answer.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    ]
    text = await reader.readexactly(lengths[0])
    if status != 200:
        raise RuntimeError(f"{path} answered {status}: {text.decode()[:200]}")


if __name__ == "__main__":
    sys.exit(main())
