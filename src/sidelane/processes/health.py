"""Health port of a process group: HTTP answers about all its processes, for load balancers and orchestrators."""

import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

from sidelane.processes.http_port import Answer, serve_answers


class Health(NamedTuple):
    """What the health port answers: `live` if an event loop turns, `ready` if a process can work now."""

    live: bool
    ready: bool
    document: Mapping[str, Any]


def serve_health(listener: socket.socket, health: Callable[[], Health]) -> AbstractAsyncContextManager[None]:
    """Answer `GET /health/live`, `/health/ready` and `/health` with 200 or 503, during the block."""

    def answer(is_ok: Callable[[Health], bool]) -> Callable[[], Awaitable[Answer]]:
        async def answer() -> Answer:
            found = health()
            return Answer(is_ok(found), json.dumps(found.document, ensure_ascii=False).encode())

        return answer

    routes = {
        "/health/live": answer(lambda found: found.live),
        "/health/ready": answer(lambda found: found.ready),
        "/health": answer(lambda found: found.live and found.ready),
    }
    return serve_answers(listener, routes)
