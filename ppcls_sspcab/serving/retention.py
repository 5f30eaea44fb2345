"""Removing kept pictures that are too old or too many, while the service runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi.concurrency import run_in_threadpool

from ppcls_sspcab.serving.service import Service
from ppcls_sspcab.utils.logger import get_logger

SECONDS = 600.0


@asynccontextmanager
async def swept(service: Service) -> AsyncIterator[None]:
    """Within the block, the store is held to its limits every ten minutes."""
    task = asyncio.create_task(_sweep(service))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _sweep(service: Service) -> None:
    while service.store is not None:
        try:
            removed = await run_in_threadpool(service.store.sweep, service.log)
            if removed:
                get_logger().info(f"removed {removed} kept pictures by age or size")
        except Exception as error:  # the next time tries again; verdicts go on meanwhile
            get_logger().warning(f"kept pictures could not be removed: {error}")
        await asyncio.sleep(SECONDS)
