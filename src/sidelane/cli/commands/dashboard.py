"""`sidelane dashboard`: serve the dashboard alone, without the application."""

import logging
import secrets
from typing import TYPE_CHECKING, Annotated

import typer

from sidelane.app import Sidelane
from sidelane.cli.locate import load_lane
from sidelane.cli.options import LogLevel, WorkersLane, level_of, log_options
from sidelane.cli.output.console import stderr
from sidelane.configuration import load_settings
from sidelane.processes.listen import format_address, open_listener
from sidelane.processes.logs import log_to_stderr

if TYPE_CHECKING:
    from fastapi import FastAPI


def dashboard(
    lane: WorkersLane = None,
    *,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, metavar="N", help="Port to listen on; 0 for any.")] = 8080,
    title: Annotated[
        str, typer.Option(metavar="TEXT", help="What the pages are about, e.g. 'shop, production'.", show_default=False)
    ] = "",
    log_level: LogLevel = None,
) -> None:
    """Serve the dashboard of a lane, or of the project's store, until a signal stops it.

    Operators sign in with the setting `dashboard_password`, and people who may only look with `dashboard_viewer_password`.
    Without either, a password is made up and printed.
    """
    import uvicorn

    log_to_stderr(log_options("", level_of(log_level)))
    named = lane or load_settings().settings.lane
    application = standalone(load_lane(lane) if named else Sidelane(), title=title)
    logging.getLogger("uvicorn").setLevel("WARNING")  # each start and stop logs several lines
    listener = open_listener(host, port)
    address = format_address(*listener.getsockname()[:2])
    stderr().print(f"The dashboard is at http://{address}/", highlight=False)
    uvicorn.Server(uvicorn.Config(application, log_config=None, access_log=False)).run(sockets=[listener])


def standalone(lane: Sidelane, *, title: str) -> "FastAPI":
    """Return an application that serves nothing but the dashboard of a lane. Raises `ConfigurationError`."""
    from fastapi import FastAPI

    from sidelane.web.dashboard import dashboard as pages

    password, viewer_password = lane.settings.dashboard_password, lane.settings.dashboard_viewer_password
    if not password and not viewer_password:
        password = secrets.token_urlsafe(12)
        stderr().print(f"Its password, until it stops, is {password}", highlight=False)
    application = FastAPI(lifespan=lane.lifespan, openapi_url=None)
    application.include_router(
        pages(lane, password=password or None, viewer_password=viewer_password or None, title=title)
    )
    return application
