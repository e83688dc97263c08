"""API server: uvicorn with an end that fails no request.

uvicorn closes idle connections as soon as it should stop, so a request that arrives at that moment is lost (uvicorn #2757). This
server first stops accepting, then answers what still arrives on open connections with `Connection: close`.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import uvicorn

from sidelane.processes.parent import Report

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

DEFAULT_OPTIONS: Mapping[str, Any] = {"timeout_keep_alive": 75, "timeout_graceful_shutdown": 30}
"""Options of uvicorn, in seconds. A proxy keeps idle connections for 60 s. If uvicorn closed them first, requests could be lost."""

POLL_INTERVAL = 0.05
"""Seconds between two looks at the open connections."""

CLOSE = (b"connection", b"close")


logger = logging.getLogger(__name__)


class ApiServer(uvicorn.Server):
    """Serves an ASGI application. `linger` is for how many seconds open connections are answered after the signal to stop."""

    def __init__(self, application: Application, *, linger: float, **options: Any) -> None:
        super().__init__(uvicorn.Config(self._close_when_stopping(application), log_config=None, **options))
        self._linger = linger

    def report(self) -> Report:
        """Return the state of this process for its parent."""
        state = self.server_state
        return Report(
            ready=self.started and not self.should_exit, running=len(state.tasks), finished=state.total_requests
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the application's lifespan, and accept connections."""
        await super().startup(sockets)
        logger.info("the API is ready")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, answer open connections for a while, and end."""
        for server in self.servers:
            server.close()
        end = time.monotonic() + self._linger
        while self.server_state.connections and time.monotonic() < end and not self.force_exit:  # noqa: ASYNC110
            await asyncio.sleep(POLL_INTERVAL)
        await super().shutdown(sockets)

    def _close_when_stopping(self, application: Application) -> Application:
        """Return the application, whose responses ask clients to close their connection once the server should stop."""

        async def wrapped(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
            async def send_closing(message: Message) -> None:
                if message["type"] == "http.response.start" and self.should_exit:
                    message = {**message, "headers": [*message.get("headers", ()), CLOSE]}
                await send(message)

            await application(scope, receive, send_closing if scope["type"] == "http" else send)

        return wrapped
