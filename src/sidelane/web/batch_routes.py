"""Batches over HTTP: the routes that follow jobs which were submitted together."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from sidelane.web import openapi
from sidelane.web.batch_views import BatchViews, retry_after
from sidelane.web.problems import ProblemRoute
from sidelane.web.schemas import BatchDocument, JobPage

MAX_OFFSET = 2**53
"""The largest number that every client and store writes as it is."""


def batch_routes(name: str, open_desk: Callable[[], BatchViews], viewer: Callable[..., str | None]) -> APIRouter:
    """Make the router. `name` is that of the route that links lead to, `viewer` the dependency that says who asks."""
    router = APIRouter(route_class=ProblemRoute, tags=["batches"], responses=openapi.problems(openapi.MALFORMED))
    Viewer = Annotated[str | None, Depends(viewer)]  # noqa: N806 - a type, made of this application's dependency

    @router.get("/{batch_id}", name=name, responses=openapi.BATCH_RESPONSES)
    async def status(request: Request, response: Response, batch_id: str, user: Viewer) -> BatchDocument:
        """The batch as it stands."""
        desk = open_desk()
        record = await desk.access.batch(batch_id, user)
        if record.ended is None:
            response.headers["Retry-After"] = str(retry_after(record))
        return await desk.document(request, record)

    @router.get("/{batch_id}/jobs", responses=openapi.BATCH_RESPONSES)
    async def jobs(
        request: Request,
        batch_id: str,
        user: Viewer,
        before: int | None = Query(
            default=None, ge=0, le=MAX_OFFSET, description="Where the page begins: `next` of the page before says it."
        ),
    ) -> JobPage:
        """The jobs of the batch, newest first."""
        desk = open_desk()
        return await desk.jobs(request, await desk.access.batch(batch_id, user), user, before)

    @router.get("/{batch_id}/events", response_class=Response, responses=openapi.BATCH_STREAM)
    async def events(request: Request, batch_id: str, user: Viewer) -> Response:
        """The batch whenever it changes, to its end (text/event-stream)."""
        desk = open_desk()
        return await desk.stream(request, await desk.access.batch(batch_id, user))

    @router.get("/{batch_id}/events/{token}", response_class=Response, responses=openapi.BATCH_STREAM)
    async def events_by_token(request: Request, batch_id: str, token: str) -> Response:
        """The same for clients that cannot send headers: the batch's links hold the token."""
        desk = open_desk()
        await desk.access.check_batch(batch_id, token)
        return await desk.stream(request, await desk.client.batch(batch_id).record())

    @router.post("/{batch_id}/cancel", responses=openapi.BATCH_RESPONSES)
    async def cancel(request: Request, batch_id: str, user: Viewer) -> BatchDocument:
        """Cancel the unfinished jobs of the batch: queued ones at once, running ones as soon as they stop."""
        desk = open_desk()
        await desk.access.batch(batch_id, user)
        return await desk.document(request, await desk.client.batch(batch_id).cancel())

    return router
