"""Metrics route: the figures of the store, for Prometheus."""

import math
import time
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from sidelane.admin.findings.evaluation import Attention
from sidelane.admin.findings.finding import Severity
from sidelane.app import Sidelane
from sidelane.exporters.store_exporter import StoreExporter
from sidelane.exporters.store_metrics import StoreFacts, read_facts
from sidelane.model.errors import StoreUnavailable
from sidelane.model.problem import Problem
from sidelane.model.queue import target_waits
from sidelane.stores.contract import Store
from sidelane.web.problems import ProblemRoute, problem_response

FINDINGS_CACHED_FOR = 10.0
"""Seconds for which findings are cached, because they take more reads than all other metrics together."""


def metrics_router(lane: Sidelane) -> APIRouter:
    """Return the route `/metrics`, which is not part of the application's OpenAPI document."""
    router = APIRouter(route_class=ProblemRoute)
    findings = FindingCounter()

    async def read() -> StoreFacts:
        store = lane.client.store
        return await read_facts(store, target_waits(lane.queues.values()), await findings.count(store))

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


class FindingCounter:
    """Counts the findings of a store by severity, without those that are muted."""

    def __init__(self) -> None:
        self._store: Store | None = None
        self._attention: Attention | None = None
        self._counts: Mapping[str, int] = {}
        self._counted_at = -math.inf

    async def count(self, store: Store) -> Mapping[str, int]:
        """Return the counts, which may be ten seconds old. Raises `StoreError`."""
        if self._attention is None or self._store is not store:  # the lane was opened again
            self._store, self._attention, self._counted_at = store, Attention(store), -math.inf
        if time.monotonic() - self._counted_at > FINDINGS_CACHED_FOR:
            severities = [each.severity for each in await self._attention.findings() if each.muted_until is None]
            self._counts = {severity: severities.count(severity) for severity in Severity}
            self._counted_at = time.monotonic()
        return self._counts
