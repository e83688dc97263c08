"""Health of an API process: whether it serves, for load balancers and orchestrators."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from sidelane.model.errors import StoreError
from sidelane.stores.contract import Store
from sidelane.web.shutdown import SHUTDOWN

STORE_TIMEOUT = 1.0
"""Seconds that the store has to answer."""


class HealthDocument(BaseModel):
    """The answer of the health routes. `store` is for people: routes without jobs work without it."""

    status: Literal["ok", "stopping"]
    store: Literal["ok", "unavailable", "unchecked"]


def health_router(store: Callable[[], Store]) -> APIRouter:
    """Return the routes `/live` and `/ready`. Neither fails while the store is away, or routes without jobs would fall with it."""
    router = APIRouter(tags=["health"])

    @router.get("/live")
    async def live() -> HealthDocument:
        """Answer 200 as long as the event loop turns."""
        return HealthDocument(status="ok", store="unchecked")

    @router.get("/ready", responses={HTTPStatus.SERVICE_UNAVAILABLE: {"description": "The process stops."}})
    async def ready(response: Response) -> HealthDocument:
        """Answer 200, or 503 once the server was asked to stop, so that a load balancer sends no more requests."""
        SHUTDOWN.listen()
        if SHUTDOWN.stopping:
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
            return HealthDocument(status="stopping", store="unchecked")
        return HealthDocument(status="ok", store=await _store_state(store()))

    return router


async def _store_state(store: Store) -> Literal["ok", "unavailable"]:
    try:
        await asyncio.wait_for(store.get(["0"]), STORE_TIMEOUT)
    except (StoreError, TimeoutError):
        return "unavailable"
    return "ok"
