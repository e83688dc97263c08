"""The command `sidelane`: its groups, and what holds for all of them."""

from typing import Annotated

import typer

from sidelane import __version__
from sidelane.cli.commands import batches, callbacks, dead, files, jobs, limits, queues, schedules
from sidelane.cli.commands.check import check
from sidelane.cli.commands.config import config
from sidelane.cli.commands.dev import dev
from sidelane.cli.commands.dev_api import api
from sidelane.cli.commands.remote_worker import serve
from sidelane.cli.commands.worker import worker
from sidelane.cli.commands.workers import workers
from sidelane.cli.exit_codes import MEANINGS, Commands

application = typer.Typer(
    cls=Commands,
    help="Sidelane puts slow requests in a lane of their own: durable jobs, streamed live, resumable.",
    epilog=MEANINGS,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sidelane {__version__}")
        raise typer.Exit


@application.callback()
def everywhere(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", envvar="SIDELANE_DEBUG", help="Print the traceback of an error too.", show_default=False
        ),
    ] = False,
) -> None:
    """What holds for every command."""


application.command()(dev)
application.command()(worker)
application.command()(serve)
application.add_typer(jobs.commands, name="jobs")
application.add_typer(dead.commands, name="dead")
application.add_typer(queues.commands, name="queues")
application.add_typer(limits.commands, name="limits")
application.add_typer(schedules.commands, name="schedules")
application.add_typer(batches.commands, name="batches")
application.add_typer(callbacks.commands, name="callbacks")
application.add_typer(files.commands, name="files")
application.command()(workers)
application.command()(config)
application.command()(check)
application.command(hidden=True)(api)
