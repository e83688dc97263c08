"""Running a worker inside a process that does other things as well."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sidelane.engine.worker import Worker


@asynccontextmanager
async def embedded(worker: Worker) -> AsyncIterator[Worker]:
    """Run a worker for as long as the block; then it drains."""
    running = asyncio.create_task(worker.run(), name=worker.id)
    try:
        yield worker
    finally:
        worker.drain()
        await running
