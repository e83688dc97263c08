"""Metrics route: the figures of the store, for Prometheus."""

from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from sidelane.app import Sidelane
from sidelane.exporters.store_exporter import StoreExporter
from sidelane.exporters.store_metrics import StoreFacts, read_facts
from sidelane.model.errors import StoreUnavailable
from sidelane.model.problem import Problem
from sidelane.web.problems import ProblemRoute, problem_response


def metrics_router(lane: Sidelane) -> APIRouter:
    """Return the route `/metrics`, which is not part of the application's OpenAPI document."""
    router = APIRouter(route_class=ProblemRoute)

    async def read() -> StoreFacts:
        return await read_facts(lane.client.store, target_waits={}, findings={})

    exporter = StoreExporter(read)

    @router.get("/metrics", include_in_schema=False)
    async def metrics(request: Request) -> Response:
        """Answer in the text format of Prometheus, or in that of OpenMetrics if the client accepts it."""
        try:
            text, content_type = await exporter.scrape(request.headers.get("accept", ""))
        except StoreUnavailable:
            detail = "The store does not answer, so there are no metrics now."
            return problem_response(Problem(status=HTTPStatus.SERVICE_UNAVAILABLE, detail=detail))
        return Response(text, headers={"content-type": content_type})

    return router
