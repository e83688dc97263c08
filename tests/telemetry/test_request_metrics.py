"""RequestMetrics counts the application's own requests by route."""

from collections.abc import AsyncIterator, Iterator

import pytest
from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import StreamingResponse
from starlette.testclient import TestClient

from sidelane.telemetry import PROCESS_FIGURES, ProcessFigures
from sidelane.telemetry.figures import MAX_LABELS
from sidelane.web import RequestMetrics


@pytest.fixture
def figures() -> ProcessFigures:
    return ProcessFigures()


@pytest.fixture
def client(figures: ProcessFigures) -> Iterator[TestClient]:
    app, router, mounted = FastAPI(), APIRouter(), FastAPI()
    app.add_middleware(RequestMetrics, figures=figures)

    @app.get("/chat/{session}")
    async def chat(session: int) -> int:
        return session

    @app.post("/busy")
    async def busy() -> Response:
        return Response(status_code=503)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            yield "a"
            yield "b"

        return StreamingResponse(parts())

    @router.get("/{job}/result")
    async def result(job: str) -> str:
        return job

    @mounted.get("/deep/{number}")
    async def deep(number: int) -> int:
        return number

    app.include_router(router, prefix="/tenants/{tenant}/jobs")
    app.mount("/inner", mounted)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "route", "status"),
    [
        ("/chat/7", "/chat/{session}", 200),
        ("/chat/none", "/chat/{session}", 422),
        ("/broken", "/broken", 500),
        ("/stream", "/stream", 200),
        ("/tenants/acme/jobs/j-1/result", "/tenants/{tenant}/jobs/{job}/result", 200),
        ("/inner/deep/3", "/inner/deep/{number}", 200),
        ("/not/there", "other", 404),
    ],
)
def test_request_is_counted_under_its_route(
    client: TestClient, figures: ProcessFigures, path: str, route: str, status: int
) -> None:
    for _ in range(2):
        assert client.get(path).status_code == status
    assert dict(figures.requests) == {("GET", route, status): 2}
    assert figures.request_seconds[route].count == 2
    assert 0 < figures.request_seconds[route].total < 5


def test_refused_request_and_other_method_are_counted(client: TestClient, figures: ProcessFigures) -> None:
    client.post("/busy")
    client.request("BREW", "/chat/1")
    assert dict(figures.requests) == {("POST", "/busy", 503): 1, ("other", "/chat/{session}", 405): 1}


def test_number_of_routes_is_bounded(figures: ProcessFigures) -> None:
    for number in range(MAX_LABELS + 50):
        figures.count_request("GET", f"/r{number}", 200, 0.01)
    assert len(figures.request_seconds) == MAX_LABELS + 1
    assert figures.requests["GET", "other", 200] == 50


def test_figures_of_the_process_are_the_default() -> None:
    app = FastAPI()
    app.add_middleware(RequestMetrics)
    before = PROCESS_FIGURES.requests["GET", "other", 404]
    with TestClient(app) as client:
        client.get("/nothing")
    assert PROCESS_FIGURES.requests["GET", "other", 404] == before + 1
