"""`sidelane dev`: the API and a worker in one terminal, both started again when the code changes."""

import asyncio
import importlib
import os
import signal
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from sidelane.cli.commands.dev_process import dev_process
from sidelane.cli.options import Concurrency, LogLevel, QueueSlots, level_of, passed_on, slots_by_queue
from sidelane.cli.output.prefixed import SELF, PrefixedOutput
from sidelane.model.errors import ConfigurationError, MissingExtra
from sidelane.processes.supervisor import SupervisedProcess, process_names

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
    slots_by_queue(queues)  # what is wrong with it is said here once, not by each worker
    options = passed_on(level, queues, concurrency)
    folders = reload_dir or [Path.cwd()]
    names = process_names("worker", workers)
    with _listen(host, port) as listening:
        terminal = PrefixedOutput(["api", *names])
        terminal.say(SELF, f"the API is at {_address(host, listening)}")
        terminal.say(SELF, f"watches {', '.join(map(str, folders))}; Ctrl-C stops everything")
        kept = [_api(application, level, listening.fileno(), terminal)]
        kept += [_worker(name, lane or application, options, terminal) for name in names]
        asyncio.run(Development(kept, folders, terminal).run())


def _address(host: str, listening: socket.socket) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"


def _api(application: str, level: str, file: int, terminal: PrefixedOutput) -> SupervisedProcess:
    arguments = ["api", application, "--file", str(file), "--log-level", level]
    return dev_process("api", arguments, signal.SIGTERM, terminal, [file])


def _worker(name: str, lane: str, options: Sequence[str], terminal: PrefixedOutput) -> SupervisedProcess:
    return dev_process(name, ["worker", lane, "--name", name, "--prefixed", *options], signal.SIGQUIT, terminal)


class Development:
    """Everything `sidelane dev` runs, until Ctrl-C."""

    def __init__(self, kept: Sequence[SupervisedProcess], folders: Sequence[Path], terminal: PrefixedOutput) -> None:
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
            importlib.import_module(package)
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
