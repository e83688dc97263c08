"""The API process of `sidelane dev`: uvicorn on an inherited socket, so that a restart refuses no connection."""

import logging
import socket
from typing import Annotated, Any

import typer

from sidelane.cli.locate import load_object
from sidelane.cli.options import LogLevel, Parent, level_of
from sidelane.model.errors import ConfigurationError
from sidelane.processes.child import exit_with_parent
from sidelane.processes.logs import log_to_stderr

GRACEFUL_TIMEOUT = 1
"""Seconds that open event streams have to end when the process stops; clients resume them on the next process."""

logger = logging.getLogger(__name__)


def api(
    application: Annotated[str, typer.Argument(metavar="MODULE:ATTR")],
    *,
    file: Annotated[int, typer.Option("--file")],
    log_level: LogLevel = None,
    parent: Parent = None,
) -> None:
    """Serve an ASGI application on an inherited socket."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            logger.info("the API is ready")

    exit_with_parent(parent)
    level = level_of(log_level)
    log_to_stderr("", level)
    if level != "DEBUG":
        logging.getLogger("uvicorn.error").setLevel("WARNING")  # each start and stop logs several lines
    config = uvicorn.Config(load_application(application), log_config=None, timeout_graceful_shutdown=GRACEFUL_TIMEOUT)
    Server(config).run(sockets=[socket.socket(fileno=file)])


def load_application(reference: str) -> Any:
    """Import an ASGI application by `module:attribute`; the attribute defaults to `app`. Raises `ConfigurationError`."""
    module, application = load_object(reference if ":" in reference else f"{reference}:app")
    if not callable(application):
        raise ConfigurationError(f"{reference!r} in {module.__file__} is not an ASGI application: it cannot be called.")
    return application
