"""Running a worker inside a process that does other things as well."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sidelane.worker.worker import Worker

logger = logging.getLogger(__name__)


@asynccontextmanager
async def run_in_background(worker: Worker) -> AsyncIterator[Worker]:
    """Run a worker for as long as the block; then it drains."""
    running = asyncio.create_task(worker.run(), name=worker.id)
    running.add_done_callback(_complain)
    try:
        yield worker
    finally:
        worker.drain()
        await running


def _complain(ended: "asyncio.Task[None]") -> None:
    """Say at once when a worker breaks: its owner may be busy for days before it looks."""
    if not ended.cancelled() and (error := ended.exception()) is not None:
        logger.critical("%s has broken and runs no more jobs", ended.get_name(), exc_info=error)
