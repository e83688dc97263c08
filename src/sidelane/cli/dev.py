"""`sidelane dev`: the API and a worker in one terminal, both started again when the code changes."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Annotated

import typer

from sidelane.cli.child import Child
from sidelane.cli.logs import colours_wanted
from sidelane.cli.processes import manner
from sidelane.cli.worker import Concurrency, LogLevel, QueueSlots, level_of, slots_by_queue
from sidelane.model.errors import ConfigurationError, MissingExtra

PATIENCE = 6.0
"""Seconds a process has to end before it is killed."""

EARLY = 3.0
"""Seconds: a process that ends by itself sooner than this after its start waits for a change of the code."""

COLOURS = (34, 35, 36, 33)

DIM = 2

SELF = "dev"

BACKLOG = 512


def dev(
    application: Annotated[
        str, typer.Argument(metavar="MODULE:ATTR", help="The FastAPI application, for example main:app.")
    ],
    *,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address the API listens on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, metavar="N", help="Port the API listens on; 0 takes a free one.")
    ] = 8000,
    workers: Annotated[
        int, typer.Option("--workers", "--processes", min=1, max=64, metavar="N", help="Worker processes.")
    ] = 1,
    lane: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:ATTR",
            help="The lane. Else the one the application uses.",
            show_default=False,
        ),
    ] = None,
    queues: QueueSlots = None,
    concurrency: Concurrency = None,
    reload_dir: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            file_okay=False,
            metavar="FOLDER",
            help="Folder whose .py files are watched. Else this one.",
            show_default=False,
        ),
    ] = None,
    log_level: LogLevel = None,
) -> None:
    """Run the API and a worker in one terminal, for development. Both start again when a .py file changes.

    Ctrl-C stops both; jobs that were running go back to their queue at no cost, and go on at the next start.
    """
    _check_extras()
    level = level_of(log_level)
    slots_by_queue(queues)
    folders = reload_dir or [Path.cwd()]
    options = ["--log-level", level, *(["--queues", queues] if queues else [])]
    options += ["--concurrency", str(concurrency)] if concurrency else []
    reference = lane or application
    names = ["worker"] if workers == 1 else [f"worker-{number + 1}" for number in range(workers)]
    with _listen(host, port) as listening:
        terminal = Terminal(["api", *names])
        terminal.say(SELF, f"the API is at {_address(host, listening)}")
        terminal.say(SELF, f"watches {', '.join(map(str, folders))}; Ctrl-C stops everything")
        kept = [_api(application, level, listening.fileno(), terminal)]
        kept += [_worker(name, reference, options, terminal) for name in names]
        asyncio.run(Development(kept, folders, terminal).run())


def _address(host: str, listening: socket.socket) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"


class Terminal:
    """Lines of several processes in one terminal, each behind the name of its process."""

    def __init__(self, names: Sequence[str]) -> None:
        self._width = max(len(name) for name in (*names, SELF))
        self._coloured = colours_wanted(sys.stdout)
        self._colours = {SELF: DIM, **dict(zip(names, cycle(COLOURS), strict=False))}
        self.environment = {"PYTHONUNBUFFERED": "1", **({"FORCE_COLOR": "1"} if self._coloured else {})}

    def say(self, name: str, line: str) -> None:
        """Print a line of one process."""
        prefix = f"{name:{self._width}} │"
        if self._coloured:
            prefix = f"\x1b[{self._colours[name]}m{prefix}\x1b[0m"
        print(f"{prefix} {line}", flush=True)


class Kept:
    """One process of `sidelane dev`: started again when the code changes, or when it died after running a while."""

    def __init__(
        self, name: str, arguments: Sequence[str], farewell: int, terminal: Terminal, files: Sequence[int] = ()
    ) -> None:
        self.name = name
        self._farewell = farewell
        self._terminal = terminal
        self._child = Child(
            name,
            arguments,
            environment=terminal.environment,
            on_line=lambda line: terminal.say(name, line),
            files=files,
        )
        self._changed = asyncio.Event()

    def restart(self) -> None:
        """Start it again, from the code as it is now."""
        self._changed.set()

    async def run(self) -> None:
        """Keep it running until cancelled."""
        while True:
            self._changed.clear()
            await self._child.start()
            began = time.monotonic()
            try:
                status = await self._ended_or_changed()
            finally:
                await asyncio.shield(self._child.stop(self._farewell, PATIENCE))
            if status is not None:
                await self._mourn(status, time.monotonic() - began)

    async def _ended_or_changed(self) -> int | None:
        """Wait for its end (its status) or for a change of the code (None)."""
        ended, changed = asyncio.create_task(self._child.wait()), asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait([ended, changed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
        return ended.result() if ended.done() else None

    async def _mourn(self, status: int, lived: float) -> None:
        if lived > EARLY:
            self._terminal.say(SELF, f"{self.name} died ({manner(status)}); it starts again")
            await asyncio.sleep(1.0)
            return
        self._terminal.say(SELF, f"{self.name} ended ({manner(status)}); it starts again when the code changes")
        await self._changed.wait()


def _api(application: str, level: str, file: int, terminal: Terminal) -> Kept:
    arguments = ["api", application, "--file", str(file), "--log-level", level]
    return Kept("api", arguments, signal.SIGTERM, terminal, [file])


def _worker(name: str, lane: str, options: Sequence[str], terminal: Terminal) -> Kept:
    return Kept(name, ["worker", lane, "--name", name, "--prefixed", *options], signal.SIGQUIT, terminal)


class Development:
    """Everything `sidelane dev` runs, until Ctrl-C."""

    def __init__(self, kept: Sequence[Kept], folders: Sequence[Path], terminal: Terminal) -> None:
        self._kept = kept
        self._folders = folders
        self._terminal = terminal

    async def run(self) -> None:
        """Run until told to stop."""
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop.set)
        running = [asyncio.create_task(kept.run(), name=kept.name) for kept in self._kept]
        watching = asyncio.create_task(self._watch())
        await stop.wait()
        self._terminal.say(SELF, "stopping; jobs that run go back to their queue")
        watching.cancel()
        for task in running:
            task.cancel()
        await asyncio.wait([watching, *running])
        self._terminal.say(SELF, "stopped")

    async def _watch(self) -> None:
        from watchfiles import PythonFilter, awatch

        async for changes in awatch(*self._folders, watch_filter=PythonFilter()):
            self._terminal.say(SELF, f"{_named(path for _, path in changes)} changed: everything starts again")
            for kept in self._kept:
                kept.restart()


def _named(paths: Iterable[str]) -> str:
    names = sorted({os.path.relpath(path) for path in paths})
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _check_extras() -> None:
    for package in ("uvicorn", "watchfiles"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtra(
                f"`sidelane dev` needs the package {package!r}. Install it with the extra `cli`: pip install 'sidelane[cli]'"
            ) from error


def _listen(host: str, port: int) -> socket.socket:
    """Open the socket the API listens on, and keep it while the API is started again. Raises `ConfigurationError`."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"The API cannot listen on {host}, port {port}: {error.strerror}. Choose another by --port."
        ) from error
    return listening
