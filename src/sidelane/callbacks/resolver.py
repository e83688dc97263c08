"""Looking hosts up, in threads of our own: a name server that does not answer keeps nobody else waiting."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Gives the addresses of a host, for a port. Raises OSError."""

MAX_LOOKUPS = 500
"""Hosts that are looked up at once: as many as there are callbacks at once, so that a hundred that hang keep no other waiting."""


class Resolver:
    """Asks the system for the addresses of hosts; who asks for one that is being looked up gets that answer."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._under_way: dict[tuple[str, int], asyncio.Future[list[str]]] = {}

    async def __call__(self, host: str, port: int) -> list[str]:
        """Look a host up. Raises OSError."""
        asked = self._under_way.get((host, port))
        if asked is None:
            self._threads = self._threads or ThreadPoolExecutor(MAX_LOOKUPS, "sidelane-lookup")
            asked = asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host, port)
            self._under_way[host, port] = asked
            asked.add_done_callback(partial(self._answered, (host, port)))
        return await asyncio.shield(asked)  # others wait for it too

    def _answered(self, what: tuple[str, int], answer: asyncio.Future[list[str]]) -> None:
        if self._under_way.get(what) is answer:
            del self._under_way[what]
        if not answer.cancelled():
            answer.exception()  # heard, also where all who asked have gone

    def close(self) -> None:
        """Let go of the threads, until there is something to look up again."""
        threads, self._threads = self._threads, None
        self._under_way.clear()  # what is asked for next may be on another loop
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
