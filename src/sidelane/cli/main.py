"""The command `sidelane`: its commands, global options and error handling."""

import errno
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sidelane import __version__
from sidelane.cli.commands import batches, callbacks, dead, files, jobs, limits, queues, schedules
from sidelane.cli.commands.check import check
from sidelane.cli.commands.config import config
from sidelane.cli.commands.dev import dev
from sidelane.cli.commands.dev_api import api
from sidelane.cli.commands.remote_worker import remote_worker
from sidelane.cli.commands.up import up
from sidelane.cli.commands.worker import worker
from sidelane.cli.commands.workers import workers
from sidelane.cli.exit_codes import EXIT_CODES, report_error
from sidelane.model.errors import SidelaneError


class ErrorReportingGroup(TyperGroup):
    """The commands. An error of one ends the process with a paragraph on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if not isinstance(error, SidelaneError) and _handled_by_typer(error):
                raise
            raise typer.Exit(report_error(error, debug=bool(ctx.params.get("debug")))) from error


def _handled_by_typer(error: Exception) -> bool:
    """Return whether Typer handles an error well, as it does its own errors and a closed output pipe."""
    if isinstance(error, OSError):
        return error.errno == errno.EPIPE
    return isinstance(error, EOFError) or type(error).__module__.split(".")[0] in {"typer", "click"}


application = typer.Typer(
    cls=ErrorReportingGroup,
    help="Sidelane moves slow requests out of your web process: durable jobs with live, resumable streams.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sidelane {__version__}")
        raise typer.Exit


@application.callback()
def global_options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", envvar="SIDELANE_DEBUG", help="Print the traceback of an error.", show_default=False),
    ] = False,
) -> None:
    """Declare the options of `sidelane` itself; `ErrorReportingGroup` reads them."""


application.command()(dev)
application.command()(worker)
application.command()(remote_worker)
application.command()(up)
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
