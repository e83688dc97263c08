"""`sidelane api`: serve an ASGI application, in several processes that are replaced without a failed request."""

import asyncio
import contextlib
import inspect
import json
import logging
import socket
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sidelane.cli.group_options import ChildFlags, ReportingParentFlags, parent_options, reporting
from sidelane.cli.locate import load_object, loaded_lanes
from sidelane.cli.options import LogLevel, expand_options, level_of, log_options
from sidelane.model.errors import ConfigurationError
from sidelane.processes.child import SIDELANE, exit_with_parent
from sidelane.processes.group_main import become_parent
from sidelane.processes.logs import log_to_stderr
from sidelane.tasks.job_log_filter import JobLogFilter

if TYPE_CHECKING:
    from sidelane.web.server import ApiServer

OptionList = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="An option of uvicorn, e.g. root_path=/api. May be repeated.",
        show_default=False,
    ),
]


@expand_options
def api(
    application: Annotated[str, typer.Argument(metavar="MODULE:ATTR", help="The ASGI application, e.g. main:app.")],
    *,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, metavar="N", help="Port to listen on; 0 for any.")] = 8000,
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the group in logs and lists.")] = "api",
    processes: Annotated[int, typer.Option(min=0, max=256, metavar="N", help="Number of processes.")] = 1,
    option: OptionList = None,
    max_requests: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Replace a process after this many requests.", show_default=False),
    ] = None,
    flags: ReportingParentFlags,
    log_level: LogLevel = None,
    child: ChildFlags,
) -> None:
    """Serve an application by uvicorn, until a signal stops it.

    A parent process opens the port once and passes it to its processes, so that a restart refuses no connection. SIGHUP replaces
    the processes one by one. A process that stops answers open connections for 2 seconds with `Connection: close`, and ends its
    event streams so that clients resume them on another process.
    """
    level = level_of(log_level)
    options = _server_options(option or [])  # so that an error is reported once, not by each process
    if child.file is None:
        command = [*SIDELANE, "api", application, "--log-level", level]
        command += [part for each in option or [] for part in ("--option", each)]
        command += flags.child_arguments
        become_parent(
            parent_options(
                "api",
                name,
                command,
                flags,
                processes=processes,
                max_jobs=max_requests,
                listen=(host, port),
                log_level=level,
            )
        )
    from sidelane.web.server import DEFAULT_OPTIONS, ApiServer

    exit_with_parent(child.parent)
    log_to_stderr(log_options("" if child.report is None else name, level), JobLogFilter())
    if level != "DEBUG":
        logging.getLogger("uvicorn.error").setLevel("WARNING")  # each start and stop logs several lines
    server = ApiServer(load_application(application), linger=child.linger, **{**DEFAULT_OPTIONS, **options})
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(_serve(server, socket.socket(fileno=child.file), name, child))


async def _serve(server: "ApiServer", listener: socket.socket, name: str, child: ChildFlags) -> None:
    metrics = None
    if child.with_metrics:
        from sidelane.cli.process_metrics import keep_figures

        metrics = keep_figures(name, set(loaded_lanes().values()), server.report)
    async with reporting(child.report, server.report, metrics=metrics):
        await server.serve(sockets=[listener])


def load_application(reference: str) -> Any:
    """Import an ASGI application by `module:attribute`; the attribute defaults to `app`. Raises `ConfigurationError`."""
    module, application = load_object(reference if ":" in reference else f"{reference}:app")
    if not callable(application):
        raise ConfigurationError(f"{reference!r} in {module.__file__} is not an ASGI application: it cannot be called.")
    return application


def _server_options(texts: list[str]) -> dict[str, Any]:
    """Parse `NAME=VALUE`; values are JSON, or else text. Raises `typer.BadParameter`."""
    import uvicorn

    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in inspect.signature(uvicorn.Config).parameters:
            raise typer.BadParameter(
                f"{text!r}: write NAME=VALUE with an option of uvicorn.Config.", param_hint="--option"
            )
        options[name] = value
        with contextlib.suppress(ValueError):
            options[name] = json.loads(value)
    return options
