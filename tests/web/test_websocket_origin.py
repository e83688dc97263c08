"""Origins of WebSockets: a page of another site may not open one as the user that the browser's cookies identify."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError
from websockets.typing import Origin

from sidelane.model.errors import ConfigurationError
from sidelane.web.origin import AllowedOrigins, ForeignOrigin
from tests.web.clients import Server, run_server
from tests.web.conftest import MakeService

FOREIGN = "https://evil.example"
LISTED = "https://app.example:8443"


@asynccontextmanager
async def open_from(
    origin: str | None, server: Server, path: str, user: str | None = "ann"
) -> AsyncIterator[ClientConnection]:
    """Open a WebSocket as the browser of `user` does for a page of `origin`."""
    headers = {"X-User": user} if user else {}
    url = f"ws://127.0.0.1:{server.port}{path}"
    async with connect(url, origin=Origin(origin) if origin else None, additional_headers=headers) as connection:
        yield connection


async def close_code(origin: str | None, server: Server, path: str, user: str | None = "ann") -> int | None:
    """Return the code that a WebSocket was closed with: 1000 after the job's end."""
    async with open_from(origin, server, path, user) as connection:
        with suppress(ConnectionClosedError):
            assert [json.loads(text) async for text in connection][-1]["event"] == "end"
    return connection.close_code


async def events_path(server: Server) -> tuple[str, str]:
    """Submit a job and return the paths of its events: without a token, and with one."""
    job = (await server.client.post("/do/echo")).json()
    return f"{job['links']['self']}/events", job["links"]["events"]


async def test_websocket_opened_by_a_page_of_another_origin_is_refused(server: Server) -> None:
    path, _ = await events_path(server)
    for origin in (FOREIGN, "null", f"http://127.0.0.1:{server.port + 1}", "http://localhost"):
        assert await close_code(origin, server, path) == 4403


async def test_websocket_opened_by_the_services_own_page_or_by_no_page_is_accepted(server: Server) -> None:
    path, _ = await events_path(server)
    for origin in (None, f"http://127.0.0.1:{server.port}", f"https://127.0.0.1:{server.port}"):
        assert await close_code(origin, server, path) == 1000


async def test_websocket_with_a_token_is_accepted_from_every_origin(server: Server) -> None:
    _, with_token = await events_path(server)
    assert await close_code(FOREIGN, server, with_token, user=None) == 1000


async def test_foreign_origin_learns_nothing_about_a_job(server: Server) -> None:
    assert await close_code(FOREIGN, server, "/jobs/00ff/events") == 4403


async def test_allowed_origin_is_accepted_and_others_are_not(make: MakeService) -> None:
    async with run_server(make(allowed_origins=[LISTED]).app) as server:
        path, _ = await events_path(server)
        assert await close_code(LISTED, server, path) == 1000
        assert await close_code(FOREIGN, server, path) == 4403
        assert await close_code("https://app.example", server, path) == 4403


async def test_without_users_every_origin_is_accepted_because_no_cookie_identifies(make: MakeService) -> None:
    async with run_server(make(without_users=True).app) as server:
        path, _ = await events_path(server)
        assert await close_code(FOREIGN, server, path, user=None) == 1000


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://shop.example", "shop.example"),
        ("https://shop.example", "shop.example:443"),
        ("http://shop.example", "SHOP.example:80"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("http://shop.example:8000", "shop.example:8000"),
    ],
)
def test_host_and_port_are_compared_and_the_schemes_port_need_not_be_written(origin: str, host: str) -> None:
    AllowedOrigins([]).check({"origin": origin, "host": host})


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://shop.example", "shop.example:80"),
        ("https://shop.example.evil.example", "shop.example"),
        ("https://shop.example@evil.example", "shop.example"),
        ("https://evil.example/shop.example", "shop.example"),
        ("https://shop.example", ""),
        ("", "shop.example"),
        ("", ""),
        ("null", ""),
        ("https://[", "["),
        ("//shop.example", "shop.example"),
        ("https://shop.example:x", "shop.example:x"),
    ],
)
def test_what_only_resembles_the_services_origin_is_refused(origin: str, host: str) -> None:
    with pytest.raises(ForeignOrigin):
        AllowedOrigins([]).check({"origin": origin, "host": host})


def test_star_allows_every_origin_and_capitals_are_ignored() -> None:
    AllowedOrigins(["*"]).check({"origin": "null", "host": "shop.example"})
    AllowedOrigins(["https://App.example"]).check({"origin": "https://app.example", "host": "shop.example"})


@pytest.mark.parametrize("origins", [["app.example"], ["https://app.example/"], ["https://app.example/x"], "*", [""]])
def test_text_that_is_no_origin_is_refused_when_it_is_declared(origins: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="allowed_origins"):
        AllowedOrigins(origins)
