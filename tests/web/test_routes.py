"""Routes of an application as a proxy must know them."""

import re
from collections.abc import AsyncIterator
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, Response, UploadFile

from sidelane import Sidelane
from sidelane.web import Jobs, Responder
from sidelane.web.routes import AppRoute, routes_of

jobs = Jobs(Sidelane(), user=None)

Respond = Annotated[Responder, Depends(jobs.respond)]


async def own_respond(respond: Respond) -> AsyncIterator[Responder]:
    """Wrap the dependency, as an application may."""
    yield respond


def application() -> FastAPI:
    app, router, outer, mounted = FastAPI(), APIRouter(prefix="/v1"), APIRouter(prefix="/outer"), FastAPI()

    @router.post("/chats/{name}")
    async def chats(name: str, respond: Respond) -> Response: ...  # type: ignore[empty-body]

    @router.post("/wrapped")
    async def wrapped(respond: Annotated[Responder, Depends(own_respond)]) -> Response: ...  # type: ignore[empty-body]

    @router.get("/chats/{name}")
    async def chat(name: str) -> None: ...

    @router.post("/uploads")
    async def uploads(file: UploadFile) -> None: ...

    outer.include_router(router)
    mounted.include_router(router)
    app.include_router(outer)
    app.mount("/mounted", mounted)
    app.include_router(jobs.router, prefix="/jobs")
    app.include_router(jobs.batches, prefix="/batches")
    app.include_router(jobs.files, prefix="/files")
    app.include_router(jobs.health, prefix="/health")
    return app


def found(kind: str) -> set[tuple[str, ...]]:
    return {(route.path, *sorted(route.methods)) for route in routes_of(application()) if route.kind == kind}


def test_routes_that_respond_with_jobs_are_found_through_routers_mounts_and_dependencies() -> None:
    assert found("job") == {
        (f"{prefix}/v1/{path}", "POST") for prefix in ("/outer", "/mounted") for path in ("chats/{name}", "wrapped")
    }


def test_event_streams_health_and_files_are_found() -> None:
    assert found("events") == {
        (f"/{group}/{{{item}_id}}/events{token}", "GET")
        for group, item in (("jobs", "job"), ("batches", "batch"))
        for token in ("", "/{token}")
    }
    assert found("health") == {("/health/live", "GET"), ("/health/ready", "GET")}
    assert {path for path, *_ in found("file")} == {"/files/{token}"}
    assert {route.path for route in routes_of(application()) if route.uploads} == {
        "/outer/v1/uploads", "/mounted/v1/uploads", "/files/{token}",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "served", "others"),
    [
        ("/a.b/{name}", ["/a.b/c"], ["/axb/c", "/a.b/", "/a.b/c/d", "/x/a.b/c"]),
        ("/n/{n:int}", ["/n/12"], ["/n/x", "/n/-"]),
        ("/f/{p:path}/end", ["/f/a/b/end", "/f//end"], ["/f/a"]),
        ("/(x)[y]^$|\\+*?/{u:uuid}", ["/(x)[y]^$|\\+*?/0193f2c8-a1b9"], ["/x/0193"]),
    ],
)
def test_pattern_matches_what_the_route_serves(path: str, served: list[str], others: list[str]) -> None:
    route = AppRoute(path, frozenset({"GET"}), "other", print, uploads=False)
    assert all(re.search(route.pattern, each) for each in [*served, route.sample])
    assert not any(re.search(route.pattern, each) for each in others)


def test_other_applications_have_no_routes() -> None:
    assert routes_of(lambda scope: None) == []
    assert routes_of(None) == []
