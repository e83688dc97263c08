"""HTTP client of one user's chat session."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from httpx2 import AsyncClient, Response

from examples.stock_chat.demo.failure import expect
from examples.stock_chat.demo.server_events import ServerEvent, server_events

CHAT = "/api/v1/stockeasy/chat/sessions/{session}/messages"
ABOUT = {"stock_code": "990010", "stock_name": "Hanbit Chips"}


class Conversation:
    """Asks questions in one session, as one user."""

    def __init__(self, client: AsyncClient, session: str) -> None:
        self._client = client
        self._path = CHAT.format(session=session)
        self._user = {"X-User": f"user-of-{session}"}

    @asynccontextmanager
    async def ask(self, message: str) -> AsyncIterator[AsyncIterator[ServerEvent]]:
        """Ask a question and stream its answer."""
        headers = {**self._user, "Accept": "text/event-stream"}
        async with self._client.stream(
            "POST", f"{self._path}/stream", json={"message": message, **ABOUT}, headers=headers
        ) as response:
            yield server_events(await checked(response))

    @asynccontextmanager
    async def resume(self, url: str, last_event_id: str) -> AsyncIterator[AsyncIterator[ServerEvent]]:
        """Resume a stream after the last event received."""
        headers = {**self._user, "Last-Event-ID": last_event_id}
        async with self._client.stream("GET", url, headers=headers) as response:
            yield server_events(await checked(response))

    async def request(self, message: str) -> dict[str, Any]:
        """Ask a question without a stream, and return the URLs of its answer."""
        return await self._json("POST", self._path, json={"message": message, **ABOUT})

    async def refused(self, message: str) -> str:
        """Ask a question while this user's answer is unfinished, and return the refusal."""
        body = {"message": message, **ABOUT}
        response = await self._client.post(f"{self._path}/stream", json=body, headers=self._user)
        expect(response.status_code == 429, f"a second question of the same user was answered {response.status_code}")
        return f"{response.status_code}: {response.json()['detail']}"

    async def result(self, request_id: str) -> dict[str, Any]:
        """Return the response of a request's result endpoint."""
        return await self._json("GET", f"/requests/{request_id}/result")

    async def _json(self, method: str, url: str, json: object = None) -> dict[str, Any]:
        response = await self._client.request(method, url, json=json, headers=self._user)
        await checked(response)
        body: dict[str, Any] = response.json()
        return body


async def checked(response: Response) -> Response:
    """Return a successful response. Raises `DemoFailed`."""
    if not response.is_success:
        await response.aread()
    expect(response.is_success, f"{response.request.method} {response.url} answered {response.status_code}")
    return response
