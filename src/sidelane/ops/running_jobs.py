"""Running jobs of a service that stops: which there were, and how many ended or were given back to their queues."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from sidelane.configuration import load_settings
from sidelane.model.errors import SidelaneError
from sidelane.model.job import JobRecord, Query, State
from sidelane.ops.state import StateDirectory
from sidelane.stores.contract import Store
from sidelane.stores.factory import file_missing, open_store

STORE_TIMEOUT = 2.0

MAX_JOBS = 1000
"""Jobs that are looked at."""

ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})

T = TypeVar("T")


def running_jobs(state: StateDirectory, pids: Collection[int]) -> list[str]:
    """Return the ids of the jobs that run in these processes of this machine, or none if the store does not answer."""

    async def read(store: Store) -> list[str]:
        host = socket.gethostname()
        workers = {each.id for each in await store.workers() if each.host == host and each.pid in pids}
        records = await store.list_jobs(Query(states=frozenset({State.RUNNING}), limit=MAX_JOBS))
        return [each.id for each in records if each.worker in workers]

    return _with_store(state, read) or []


def outcome_text(state: StateDirectory, ids: Collection[str]) -> str | None:
    """Return a sentence about jobs that ran when their workers were asked to stop, or None if there were none."""
    if not ids:
        return None

    async def read(store: Store) -> int:
        records = await store.get(list(ids))
        return sum(isinstance(each, JobRecord) and each.state not in ENDED for each in records)

    returned = _with_store(state, read)
    jobs = "1 job was running" if len(ids) == 1 else f"{len(ids):,} jobs were running"
    if returned is None:
        return jobs
    if not returned:
        return f"{jobs}; {'it' if len(ids) == 1 else 'all'} ended first"
    back = "1 was" if returned == 1 else f"{returned:,} were"
    return f"{jobs}; {len(ids) - returned:,} ended first and {back} given back to the queue"


def _with_store(state: StateDirectory, action: Callable[[Store], Awaitable[T]]) -> T | None:
    """Await `action` on the store of the service. Return None if the store does not answer in time."""

    async def run(url: str) -> T:
        async with asyncio.timeout(STORE_TIMEOUT):
            store = await open_store(url)
            try:
                return await action(store)
            finally:
                await store.close()

    try:
        url = load_settings(*state.settings_source()).settings.store
        return None if file_missing(url) else asyncio.run(run(url))
    except (SidelaneError, TimeoutError, OSError):
        return None
