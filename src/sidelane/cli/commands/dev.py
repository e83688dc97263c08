"""`sidelane dev`: the API and workers in one terminal, restarted when the code changes."""

import asyncio
import contextlib
import importlib
import math
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Annotated

import typer

from sidelane.cli.options import Concurrency, LogLevel, QueueSlots, level_of, slots_by_queue, worker_arguments
from sidelane.model.errors import MissingExtra
from sidelane.processes.child import CliProcess
from sidelane.processes.exit_code import Exit, describe_exit
from sidelane.processes.listen import format_address, open_listener
from sidelane.processes.logs import use_colours
from sidelane.processes.supervised_process import SupervisedProcess

COLOURS = (34, 35, 36, 33)

DIM = 2

UNAVAILABLE_TEXT = b"The API does not run, because it could not start. See the terminal of `sidelane dev`.\n"
UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\nretry-after: 2\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(UNAVAILABLE_TEXT), UNAVAILABLE_TEXT)
)
"""The answer while the API cannot start."""

SELF = "dev"
"""The prefix of messages of `sidelane dev` itself."""

EARLY_EXIT = 3.0
"""A process that exits by itself within this many seconds is not restarted until the code changes.

The same holds for a process that exits with `Exit.CONFIGURATION`, however long it ran.
"""

RESTART_DELAY = 1.0
"""Seconds before a process that died is restarted."""


class PrefixedOutput:
    """Prints lines of several processes, prefixed with the process name."""

    def __init__(self, names: Sequence[str]) -> None:
        self._width = max(len(name) for name in (*names, SELF))
        self._coloured = use_colours(sys.stdout)
        self._colours = {SELF: DIM, **dict(zip(names, cycle(COLOURS), strict=False))}
        self.environment = {"PYTHONUNBUFFERED": "1", **({"FORCE_COLOR": "1"} if self._coloured else {})}

    def print(self, name: str, line: str) -> None:
        """Print a line of one process."""
        prefix = f"{name:{self._width}} │"
        if self._coloured:
            prefix = f"\x1b[{self._colours[name]}m{prefix}\x1b[0m"
        print(f"{prefix} {line}", flush=True)


class UnavailablePage:
    """Answers 503 on the port of the API while the API cannot start, because a request would wait until the code changes."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._server: asyncio.Server | None = None

    def open(self) -> None:
        self._opening = asyncio.ensure_future(self._open())

    async def close(self) -> None:
        """Leave the port to the API."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._answer, sock=self._listening.dup())

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(UNAVAILABLE)
            await writer.drain()
        writer.close()


def dev_process(
    name: str,
    arguments: Sequence[str],
    stop_signal: int,
    terminal: PrefixedOutput,
    files: Sequence[int] = (),
    on_exit: Callable[[], None] = lambda: None,
) -> SupervisedProcess:
    """Return a `sidelane` command under supervision, which writes to the terminal; `files` are descriptors that it inherits.

    `on_exit` is called if the process exits and does not start again until the code changes.
    """

    def restart_delay(status: int, seconds: float) -> float:
        if seconds > EARLY_EXIT and status != Exit.CONFIGURATION:
            terminal.print(SELF, f"{name} died ({describe_exit(status)}); restarting")
            return RESTART_DELAY
        terminal.print(SELF, f"{name} exited ({describe_exit(status)}); restarting when the code changes")
        on_exit()
        return math.inf

    child = CliProcess(
        name, arguments, environment=terminal.environment, on_line=lambda line: terminal.print(name, line), files=files
    )
    return SupervisedProcess(child, restart_delay, stop_signal=stop_signal)


def dev(
    application: Annotated[str, typer.Argument(metavar="MODULE:ATTR", help="The FastAPI application, e.g. main:app.")],
    *,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address that the API listens on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, metavar="N", help="Port that the API listens on; 0 for any free port.")
    ] = 8000,
    workers: Annotated[
        int, typer.Option("--workers", "--processes", min=1, max=64, metavar="N", help="Number of worker processes.")
    ] = 1,
    lane: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:ATTR",
            help="The lane. Default: the lane of the application.",
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
            help="Folder to watch for changes of .py files. Default: the current one.",
            show_default=False,
        ),
    ] = None,
    log_level: LogLevel = None,
) -> None:
    """Run the API and a worker in one terminal, for development. Both restart when a .py file changes.

    Ctrl-C stops both. Running jobs are released: they return to their queue without using a retry.
    """
    _check_extras()
    level = level_of(log_level)
    slots_by_queue(queues)  # so that an error is reported once, not by each worker
    options = worker_arguments(level, queues, concurrency)
    folders = reload_dir or [Path.cwd()]
    names = process_names("worker", workers)
    with open_listener(host, port) as listening:
        terminal = PrefixedOutput(["api", *names])
        terminal.print(SELF, f"the API is at {_address(host, listening)}")
        terminal.print(SELF, f"watching {', '.join(map(str, folders))}; Ctrl-C stops everything")
        page = UnavailablePage(listening)
        processes = [_api(application, level, listening.fileno(), terminal, page)]
        processes += [_worker(name, lane or application, options, terminal) for name in names]
        asyncio.run(Development(processes, folders, terminal, page).run())


def _address(host: str, listening: socket.socket) -> str:
    return f"http://{format_address(host, listening.getsockname()[1])}"


def _api(application: str, level: str, file: int, terminal: PrefixedOutput, page: UnavailablePage) -> SupervisedProcess:
    arguments = ["api", application, "--file", str(file), "--linger", "0", "--option", "timeout_graceful_shutdown=1"]
    arguments += ["--log-level", level]
    return dev_process("api", arguments, signal.SIGTERM, terminal, [file], page.open)


def _worker(name: str, lane: str, options: Sequence[str], terminal: PrefixedOutput) -> SupervisedProcess:
    return dev_process(name, ["worker", lane, "--name", name, "--development", *options], signal.SIGQUIT, terminal)


class Development:
    """Runs the processes of `sidelane dev` until Ctrl-C."""

    def __init__(
        self,
        processes: Sequence[SupervisedProcess],
        folders: Sequence[Path],
        terminal: PrefixedOutput,
        page: UnavailablePage,
    ) -> None:
        self._page = page
        self._processes = processes
        self._folders = folders
        self._terminal = terminal

    async def run(self) -> None:
        """Run until SIGINT, SIGTERM or SIGHUP."""
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop.set)
        running = [asyncio.create_task(process.run(), name=process.name) for process in self._processes]
        watching = asyncio.create_task(self._watch())
        await stop.wait()
        self._terminal.print(SELF, "stopping; running jobs are released")
        watching.cancel()
        for task in running:
            task.cancel()
        await asyncio.wait([watching, *running])
        self._terminal.print(SELF, "stopped")

    async def _watch(self) -> None:
        from watchfiles import PythonFilter, awatch

        async for changes in awatch(*self._folders, watch_filter=PythonFilter()):
            self._terminal.print(SELF, f"{_file_names(path for _, path in changes)} changed: restarting")
            await self._page.close()
            for process in self._processes:
                process.restart()


def _file_names(paths: Iterable[str]) -> str:
    names = sorted({os.path.relpath(path) for path in paths})
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _check_extras() -> None:
    for package in ("uvicorn", "watchfiles"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise MissingExtra(
                f"`sidelane dev` needs the package {package!r}. Install it with the extra `cli`: pip install 'sidelane[cli]'"
            ) from error


def process_names(name: str, count: int) -> list[str]:
    """Return the names of `count` processes: the name itself for one process, else "w-1", "w-2" and so on."""
    return [name] if count == 1 else [f"{name}-{number + 1}" for number in range(count)]
