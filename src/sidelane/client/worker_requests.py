"""Requests of operators to workers, through the store, so that they reach a worker on any machine."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

from sidelane.client.pauses import PAUSES, load_pauses
from sidelane.model.errors import StoreError, StoreUnavailable
from sidelane.model.shared_state import ValueChange
from sidelane.model.worker_request import Instructions, WorkerRequest
from sidelane.stores.contract import Store, value_topic

PREFIX: Final = "worker request/"
"""Prefix of the names of values. The rest is the id of a worker, which no other process ever has."""

TRIES: Final = 10
"""Tries to save, in case other operators change the same request."""

READ_INTERVAL: Final = 1.0
"""Seconds after which workers read their instructions again without a notification."""

ABSENCE: Final = 3600.0
"""Seconds without a sign of life after which a worker is gone. After an outage of the store, workers go on as before it."""

logger = logging.getLogger(__name__)


async def read_requests(store: Store) -> Mapping[str, WorkerRequest]:
    """Return the requests by the id of their worker. Raises `StoreError`, as all of this module."""
    found: dict[str, WorkerRequest] = {}
    after: str | None = None
    while page := await store.list_values(PREFIX, after=after):
        requests = {value.name.removeprefix(PREFIX): WorkerRequest.load(value.text) for value in page}
        found |= {worker: request for worker, request in requests.items() if request is not None}
        after = page[-1].name
    return found


async def set_request(store: Store, worker_id: str, request: WorkerRequest | None) -> WorkerRequest | None:
    """Make, replace or take back (None) the request to a worker. Return the request before."""
    name = PREFIX + worker_id
    text = None if request is None else request.dump()
    for _ in range(TRIES):
        (value,) = await store.read_values([name])
        before = None if value is None else WorkerRequest.load(value.text)
        if value is None and request is None:
            return None
        replaces = None if value is None else value.version
        if await store.set_value(ValueChange(name=name, text=text, replaces=replaces)):
            return before
    raise StoreUnavailable("Others change the request to this worker at the same moment; try again.")


async def follow_instructions(store: Store, worker_id: str, on_read: Callable[[Instructions], None]) -> None:
    """Call `on_read` with the instructions for a worker each time that they have been read, until cancelled."""
    names = PAUSES, PREFIX + worker_id
    while True:
        try:
            async with store.watch(*map(value_topic, names)) as changes:
                while True:
                    paused, request = await store.read_values(names)
                    tasks = frozenset(load_pauses(paused).tasks)
                    on_read(Instructions(tasks, None if request is None else WorkerRequest.load(request.text)))
                    await changes.wait(READ_INTERVAL)
        except StoreError as error:  # the claims report it
            logger.debug("the instructions of operators cannot be read: %s", error)
        await asyncio.sleep(READ_INTERVAL)


class RequestCleanup:
    """Removes the requests to workers that are gone. Every process that sweeps does this."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._absent: dict[str, float] = {}  # since when, in monotonic seconds, by the id of the worker

    async def run_once(self) -> None:
        """Remove the requests to workers that no call has found alive for `ABSENCE` seconds. Raises `StoreError`."""
        requested = (await read_requests(self._store)).keys()
        alive = {worker.id for worker in await self._store.workers()} if requested else set()
        now = time.monotonic()
        self._absent = {worker_id: self._absent.get(worker_id, now) for worker_id in requested - alive}
        for worker_id, since in self._absent.items():
            if now - since >= ABSENCE:
                await set_request(self._store, worker_id, None)
