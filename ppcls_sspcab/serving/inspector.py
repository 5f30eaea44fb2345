"""The way of every picture, whichever route it came by: decoded, judged, stored, answered."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial

import numpy as np

from ppcls_sspcab.image.batches import Record
from ppcls_sspcab.image.decode import ImageError
from ppcls_sspcab.result import Failure
from ppcls_sspcab.serving.batcher import Places, Ran, RunFailed
from ppcls_sspcab.serving.inspections.log import InspectionLog
from ppcls_sspcab.serving.inspections.pictures import PictureStore
from ppcls_sspcab.serving.inspections.record import Inspection
from ppcls_sspcab.serving.metrics import Metrics
from ppcls_sspcab.serving.models import ServedModel
from ppcls_sspcab.utils.machine import cpu_threads


@dataclass(frozen=True)
class Submitted:
    """One picture of a request.

    Attributes:
        content: bytes of a picture file, or uint8 pixels [H, W, 3] RGB.
        name: what the caller calls it; never opened.
    """

    content: bytes | np.ndarray
    name: str


@dataclass(frozen=True)
class Caller:
    """What a request says of itself; "" where it does not."""

    request_id: str
    station: str = ""
    serial: str = ""


@dataclass(frozen=True)
class Inspected:
    """A picture's row, and its anomaly map, float32 [h, w] in (0, 1), where the model makes one."""

    inspection: Inspection
    map: np.ndarray | None = None


class Inspector:
    """Judges pictures and keeps what came of it.

    Args:
        log: has every inspection before it is answered.
        store: keeps pictures; None keeps none.
        metrics: counts.
        most_pixels: of a picture; larger ones cannot be judged.
    """

    def __init__(
        self,
        log: InspectionLog,
        store: PictureStore | None,
        metrics: Metrics,
        most_pixels: int,
    ) -> None:
        self._log, self._store, self._metrics = log, store, metrics
        self._decoders = ThreadPoolExecutor(cpu_threads(), thread_name_prefix="decode")
        self._writers = ThreadPoolExecutor(4, thread_name_prefix="store")
        self._most_pixels = most_pixels
        self._ordinals: dict[str, itertools.count[int]] = {}

    async def inspect(
        self, model: ServedModel, pictures: Sequence[Submitted], caller: Caller
    ) -> list[Inspected]:
        """Judges pictures and returns when their rows are on disk.

        A picture that cannot be read, or that the network fails on, is a row with an ``error`` and
        without a verdict.

        Raises:
            QueueFull: too many pictures wait.
            StorageError: verdicts were found and could not be stored; nobody may count on them.
        """
        with model.batcher.reserved(len(pictures)) as places:
            found = await asyncio.gather(
                *(self._judge(model, picture, caller, places) for picture in pictures)
            )
        rows = await asyncio.gather(
            *(self._kept(one, picture) for one, picture in zip(found, pictures, strict=True))
        )
        await asyncio.wrap_future(self._log.record([row.inspection for row in rows]))
        for row in rows:
            self._metrics.inspected(row.inspection)
        return rows

    def close(self) -> None:
        """Ends the threads when they have done what was asked for."""
        self._decoders.shutdown()
        self._writers.shutdown()

    async def _judge(
        self, model: ServedModel, picture: Submitted, caller: Caller, places: Places[Record]
    ) -> Inspected:
        loop = asyncio.get_running_loop()
        read = partial(self._read, model, picture.content)
        sha256, pixels, decode_ms = await loop.run_in_executor(self._decoders, read)
        row = Inspection(
            id=uuid.uuid4().hex,
            time=datetime.now(timezone.utc),
            model=model.name,
            model_version=model.version,
            backend=model.predictor.backend,
            precision=model.precision,
            request_id=caller.request_id,
            name=picture.name,
            sha256=sha256,
            station=caller.station,
            serial=caller.serial,
            decode_ms=decode_ms,
        )
        if isinstance(pixels, ImageError):
            places.skip()
            return Inspected(replace(row, error=pixels.reason))
        try:
            ran = await asyncio.wrap_future(places.put(pixels))
        except RunFailed as error:
            return Inspected(replace(row, error=str(error)))
        return _judged(row, ran)

    def _read(
        self, model: ServedModel, content: bytes | np.ndarray
    ) -> tuple[str, np.ndarray | ImageError, float]:
        start = time.perf_counter()
        sent = content if isinstance(content, bytes) else content.tobytes()
        sha256 = hashlib.sha256(sent).hexdigest()
        pixels: np.ndarray | ImageError
        try:
            pixels = model.predictor.card.preprocess.load(content, self._most_pixels)
        except ImageError as error:
            pixels = error
        return sha256, pixels, 1000 * (time.perf_counter() - start)

    async def _kept(self, found: Inspected, picture: Submitted) -> Inspected:
        """With the path of the picture, where the rule keeps it."""
        row = found.inspection
        ordinal = next(self._ordinals.setdefault(row.model, itertools.count()))
        if self._store is None or not self._store.keeps(row, ordinal):
            return found
        loop = asyncio.get_running_loop()
        save = partial(self._store.save, row, picture.content)
        path = await loop.run_in_executor(self._writers, save)
        return replace(found, inspection=replace(row, picture=path))


def _judged(row: Inspection, ran: Ran[Record]) -> Inspected:
    row = replace(
        row,
        time=datetime.now(timezone.utc),
        queue_ms=ran.queue_ms,
        network_ms=ran.run_ms,
    )
    if isinstance(ran.value, Failure):
        return Inspected(replace(row, error=ran.value.error))
    result = ran.value
    judged = replace(
        row,
        score=result.score,
        normalized_score=result.normalized_score,
        threshold=result.threshold,
        is_anomaly=result.is_anomaly,
    )
    return Inspected(judged, result.map)
