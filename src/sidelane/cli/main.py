"""The command `sidelane`: its commands, global options and error handling."""

import errno
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sidelane import __version__
from sidelane.cli.exit_codes import EXIT_CODES, report_error
from sidelane.model.errors import SidelaneError

COMMANDS = (
    "dev", "up", "status", "logs", "scale", "autoscale", "restart", "down", "api", "worker", "run", "remote-worker", "dashboard",
    "attention", "top", "jobs", "dead", "queues", "tasks", "limits", "schedules", "batches", "callbacks", "messages", "files",
    "workers", "bulk", "audit", "config", "check", "advise", "load", "store", "deploy",
)  # fmt: skip
"""The commands in the order of the help. Each is a function or a group `commands` in the module of its name in `commands/`."""


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


def command_line(arguments: Sequence[str]) -> typer.Typer:
    """Return the application that can run these arguments.

    Only the module of the named command is imported, because importing all of them takes longer than most commands. The help and
    shell completion, which name no command, get all of them.
    """
    if "--version" in arguments:
        return build_application(())
    named = next((argument for argument in arguments if not argument.startswith("-")), None)
    return build_application([named] if named in COMMANDS else COMMANDS)


def build_application(names: Iterable[str]) -> typer.Typer:
    """Return the application with these commands."""
    application = typer.Typer(
        cls=ErrorReportingGroup,
        help="Sidelane moves slow requests out of your web process: durable jobs with live, resumable streams.",
        epilog=EXIT_CODES,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    application.callback()(global_options)
    for name in names:
        attribute = name.replace("-", "_")
        module = import_module(f"sidelane.cli.commands.{attribute}")
        if hasattr(module, "commands"):
            application.add_typer(module.commands, name=name)
        else:
            application.command(name)(getattr(module, attribute))
    return application


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sidelane {__version__}")
        raise typer.Exit


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
