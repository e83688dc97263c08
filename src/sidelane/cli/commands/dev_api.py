"""The API process of `sidelane dev`: uvicorn on a socket that outlives it, so that a restart refuses nobody."""

import logging
import socket
from typing import Annotated, Any

import typer

from sidelane.cli.locate import load_object
from sidelane.cli.options import LogLevel, Parent, level_of
from sidelane.cli.output.logs import log_to_stderr
from sidelane.model.errors import ConfigurationError
from sidelane.processes.child import exit_with_parent

GRACEFUL_TIMEOUT = 1
"""Seconds that open event streams have when the process is told to stop; they resume at the next one."""

logger = logging.getLogger(__name__)


def api(
    application: Annotated[str, typer.Argument(metavar="MODULE:ATTR")],
    *,
    file: Annotated[int, typer.Option("--file")],
    log_level: LogLevel = None,
    parent: Parent = None,
) -> None:
    """Serve an ASGI application on an open socket."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            logger.info("the API is ready")

    exit_with_parent(parent)
    level = level_of(log_level)
    log_to_stderr("", level)
    if level != "DEBUG":
        logging.getLogger("uvicorn.error").setLevel("WARNING")  # its starts and stops would take eight lines
    config = uvicorn.Config(load_application(application), log_config=None, timeout_graceful_shutdown=GRACEFUL_TIMEOUT)
    Server(config).run(sockets=[socket.socket(fileno=file)])


def load_application(reference: str) -> Any:
    """Import an ASGI application named as module:attribute (`app` where only the module is). Raises `ConfigurationError`."""
    module, found = load_object(reference if ":" in reference else f"{reference}:app")
    if not callable(found):
        raise ConfigurationError(f"{reference!r} in {module.__file__} is not an application: it cannot be called.")
    return found
