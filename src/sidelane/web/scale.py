"""Scale route: how many workers the load wants, for KEDA and other autoscalers."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from sidelane.admin.scaling import LoadReader, StoreLoad
from sidelane.app import Sidelane
from sidelane.coalescing import SharedRead
from sidelane.model.errors import StoreUnavailable
from sidelane.stores.contract import Store
from sidelane.web.problems import ProblemRoute

CACHED_FOR = 1.0
"""Seconds for which requests get the same load."""

READ_TIMEOUT = 2.5
"""Seconds that the store has to answer. KEDA waits for 3."""


class QueueDocument(BaseModel):
    """The load of one queue. `arrivals` are jobs per second, `run_time` their mean seconds."""

    name: str
    arrivals: float
    run_time: float
    ready: int
    running: int
    waiting_for_limit: int


class ScaleDocument(BaseModel):
    """How many workers the load wants. Every number is there, also without any load.

    `busy_workers` would be enough for the running jobs, and `predicted_wait` is how many seconds a new job would wait now.
    """

    desired_workers: int
    busy_workers: int
    predicted_wait: float
    slots: int
    reason: str
    capped_by: str
    queues: list[QueueDocument]


def scale_router(lane: Sidelane) -> APIRouter:
    """Return the route `/scale`, which is not part of the application's OpenAPI document."""
    router = APIRouter(route_class=ProblemRoute)
    load = SharedRead(_LoadSource(lane).read)

    @router.get("/scale", include_in_schema=False)
    async def scale(
        queue: Annotated[Sequence[str] | None, Query(max_length=100)] = None,
        slots: Annotated[int | None, Query(ge=1, le=10_000)] = None,
    ) -> ScaleDocument:
        """Answer for these queues, by default those of the lane. `slots` is how many jobs one worker runs at once."""
        queues = list(dict.fromkeys(queue or lane.queues))
        return _document(await load.value(CACHED_FOR), queues, slots or lane.settings.concurrency)

    return router


class _LoadSource:
    """Reads the load of the lane's store, which is another one after the lane was opened again."""

    def __init__(self, lane: Sidelane) -> None:
        self._lane = lane
        self._store: Store | None = None
        self._reader: LoadReader | None = None

    async def read(self) -> StoreLoad:
        """Return the load. Raises `StoreUnavailable` while the store does not answer."""
        store = self._lane.client.store
        if self._reader is None or self._store is not store:
            self._store, self._reader = store, LoadReader(store)
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                return await self._reader.read()
        except TimeoutError:
            raise StoreUnavailable(f"The store did not answer within {READ_TIMEOUT:g} s.") from None


def _document(load: StoreLoad, queues: Sequence[str], slots: int) -> ScaleDocument:
    decision = load.wanted(queues, slots)
    return ScaleDocument(
        desired_workers=decision.wanted,
        busy_workers=decision.busy,
        predicted_wait=round(decision.predicted_wait, 3),
        slots=slots,
        reason=decision.reason,
        capped_by=decision.capped_by,
        queues=[
            QueueDocument(
                name=each.name, arrivals=round(each.arrivals, 3), run_time=round(each.run_time, 3), ready=each.ready,
                running=each.running, waiting_for_limit=each.waiting_for_limit,
            )
            for each in map(load.of, queues)
        ],
    )  # fmt: skip
