"""The connection of a process to its parent process: reports of its state, and the end of the parent."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass

from sidelane.processes.child import has_parent_exit_signal
from sidelane.processes.output import OutputPipe

REPORT_INTERVAL, STARTING_INTERVAL = 1.0, 0.1
"""Seconds between two reports, and until the process is ready. A process whose event loop is blocked sends none."""

LINGER = 2.0
"""Seconds for which an API process that stops answers open connections. A proxy must not keep idle connections that long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The state of a process. `ready` means that it can work now; `running` and `finished` count jobs, or requests of an API."""

    ready: bool
    running: int = 0
    finished: int = 0
    error: str | None = None
    worker: str | None = None  # the worker's id in the store
    restart: bool = False  # operators want another process in its place


class ParentConnection:
    """Sends reports over the inherited descriptor `file`, and SIGTERM to this process if its parent ends.

    `on_lost` is called with the id of another worker of the group whose process died, and with how it died. `metrics` returns the
    text for the metrics port of the group.
    """

    def __init__(
        self,
        file: int,
        report: Callable[[], Report],
        on_lost: Callable[[str, str], Awaitable[None]] | None = None,
        metrics: Callable[[], str] | None = None,
    ) -> None:
        self._socket = socket.socket(fileno=file)
        self._report = report
        self._on_lost = on_lost
        self._metrics = metrics
        self._output = OutputPipe()

    async def run(self) -> None:
        """Send reports until cancelled, or until the parent has ended."""
        reader, writer = await asyncio.open_connection(sock=self._socket)
        ended = asyncio.create_task(self._read(reader, writer))
        try:
            with suppress(ConnectionError):
                was_ready = False
                while not ended.done():
                    report = self._report()
                    was_ready |= report.ready
                    writer.write(json.dumps(asdict(report)).encode() + b"\n")
                    await writer.drain()
                    await asyncio.wait([ended], timeout=REPORT_INTERVAL if was_ready else STARTING_INTERVAL)
            self._output.discard()
            if not has_parent_exit_signal():  # a second SIGTERM would release the running jobs
                os.kill(os.getpid(), signal.SIGTERM)  # the parent has ended, e.g. by SIGKILL
        finally:
            ended.cancel()
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read the messages of the parent until it ends."""
        with suppress(ConnectionError):
            while line := await reader.readline():
                match json.loads(line):
                    case {"lost": lost} if self._on_lost is not None:
                        await self._on_lost(lost["worker"], lost["reason"])
                    case {"metrics": True} if self._metrics is not None:
                        writer.write(json.dumps({"metrics": self._metrics()}).encode() + b"\n")
