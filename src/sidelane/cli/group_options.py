"""Options of the commands that run as the parent of a process group: `sidelane worker`, `sidelane api` and `sidelane run`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

import typer

from sidelane.cli.options import Parent, log_options
from sidelane.model.durations import duration_of
from sidelane.model.sizes import size_of
from sidelane.processes.group import GroupOptions
from sidelane.processes.group_main import ParentOptions
from sidelane.processes.parent import LINGER, ParentConnection, Report
from sidelane.processes.ready_check import ReadyCheck


def duration_option(text: str | float) -> float:
    """Parse a duration: seconds, or "90s", "12h". Raises `typer.BadParameter`."""
    if isinstance(text, float):
        return text  # the default
    try:
        return float(text) if text.replace(".", "", 1).isdecimal() else duration_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def size_option(text: str) -> int:
    """Parse a size, e.g. "500MB". Raises `typer.BadParameter`."""
    try:
        return size_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class ParentFlags:
    """Options of every parent of a group."""

    max_memory: Annotated[
        int | None,
        typer.Option(
            parser=size_option,
            metavar="SIZE",
            help="Replace a process that uses this much memory, e.g. 500MB.",
            show_default=False,
        ),
    ] = None
    max_lifetime: Annotated[
        float | None,
        typer.Option(
            parser=duration_option,
            metavar="DURATION",
            help="Replace a process after this time, e.g. 12h.",
            show_default=False,
        ),
    ] = None
    health_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65_535,
            metavar="N",
            help="Port for /health/live and /health/ready of all processes.",
            show_default=False,
        ),
    ] = None
    health_host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address of the health port and the metrics port.")
    ] = "127.0.0.1"
    ready_timeout: Annotated[
        float,
        typer.Option(
            parser=duration_option, metavar="DURATION", help="How long a new process may take until it is ready."
        ),
    ] = 120.0
    stop_timeout: Annotated[
        float | None,
        typer.Option(
            parser=duration_option,
            metavar="DURATION",
            help="Kill a process that has not stopped after this time.",
            show_default=False,
        ),
    ] = None
    stop_first: Annotated[
        bool,
        typer.Option("--stop-first", help="Replace a process after it has stopped, if two cannot run at once."),
    ] = False
    control: Annotated[str | None, typer.Option(hidden=True)] = None
    scale_file: Annotated[str | None, typer.Option(hidden=True)] = None
    with_supervisor: Annotated[bool, typer.Option("--with-supervisor", hidden=True)] = False

    @property
    def need_parent(self) -> bool:
        """Whether one of the options needs a parent process."""
        return any(
            (self.health_port, self.control, self.stop_first, self.stop_timeout, self.max_memory, self.max_lifetime)
        )

    @property
    def metrics(self) -> tuple[str, int] | None:
        """Address of the metrics port, if the group has one."""
        return None


@dataclass(frozen=True, kw_only=True)
class ReportingParentFlags(ParentFlags):
    """Options of the parent of a group whose processes report to it."""

    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65_535,
            metavar="N",
            help="Port for /metrics: the figures that each process keeps, for Prometheus.",
            show_default=False,
        ),
    ] = None

    @property
    def need_parent(self) -> bool:
        """Whether one of the options needs a parent process."""
        return self.metrics_port is not None or super().need_parent

    @property
    def metrics(self) -> tuple[str, int] | None:
        """Address of the metrics port, if the group has one. Raises `MissingExtra`."""
        if self.metrics_port is None:
            return None
        import sidelane.exporters.exposition  # noqa: F401 - so that an error is reported once, not by each process

        return self.health_host, self.metrics_port

    @property
    def child_arguments(self) -> list[str]:
        """The options that pass these on to the processes of the group."""
        return [] if self.metrics_port is None else ["--with-metrics"]


@dataclass(frozen=True, kw_only=True)
class ChildFlags:
    """What a parent tells a process of its group: its id, and the descriptors of the socket to it and of a listening socket.

    `linger` is for how many seconds an API process that stops answers open connections. `with_metrics` lets it keep figures for the
    metrics port.
    """

    parent: Parent = None
    report: Annotated[int | None, typer.Option(hidden=True)] = None
    file: Annotated[int | None, typer.Option(hidden=True)] = None
    linger: Annotated[float, typer.Option(hidden=True)] = LINGER
    with_metrics: Annotated[bool, typer.Option("--with-metrics", hidden=True)] = False


def parent_options(
    kind: str,
    name: str,
    command: Sequence[str],
    flags: ParentFlags,
    *,
    processes: int = 1,
    max_jobs: int | None = None,
    ready: ReadyCheck | None = None,
    stop_first: bool = False,
    listen: tuple[str, int] | None = None,
    log_level: str,
) -> ParentOptions:
    """Return the options of the parent of a group whose processes run `command`."""
    group = GroupOptions(
        name=name, kind=kind, command=tuple(command), processes=processes, max_jobs=max_jobs,
        max_lifetime=flags.max_lifetime, max_memory=flags.max_memory, stop_first=stop_first or flags.stop_first,
        ready=ready or ReadyCheck(), ready_timeout=flags.ready_timeout, stop_timeout=flags.stop_timeout,
        scale_file=flags.scale_file,
    )  # fmt: skip
    health = None if flags.health_port is None else (flags.health_host, flags.health_port)
    return ParentOptions(
        group=group, listen=listen, health=health, metrics=flags.metrics, control=flags.control,
        with_supervisor=flags.with_supervisor, log=log_options(name, log_level),
    )  # fmt: skip


@asynccontextmanager
async def reporting(
    file: int | None,
    report: Callable[[], Report],
    on_lost: Callable[[str, str], Awaitable[None]] | None = None,
    metrics: Callable[[], str] | None = None,
) -> AsyncIterator[None]:
    """Report this process's state and metrics to the parent of its group, if it has one, during the block."""
    if file is None:
        yield
        return
    sending = asyncio.create_task(ParentConnection(file, report, on_lost, metrics).run())
    try:
        yield
    finally:
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending
