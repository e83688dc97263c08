"""Exit codes that scripts can use, and the one paragraph that goes with each error."""

import errno
import os
import sys
import traceback
from contextlib import suppress
from typing import Any

import typer
from rich.text import Text
from typer.core import TyperGroup

from sidelane.cli.output.console import stderr
from sidelane.model.errors import (
    ConfigurationError,
    JobRemoved,
    SidelaneError,
    StoreError,
    TransportError,
    UnknownBatch,
    UnknownJob,
    UnknownSchedule,
)
from sidelane.processes.exit_code import Exit

MEANINGS = """\
Exit codes: 0 done · 1 a job or batch failed, something was refused, `check` found what could lose jobs, or something unexpected
happened · 2 wrong usage · 3 a setting, the lane, the store or a transport cannot work · 4 no such job, queue, schedule or batch · \
5 the watched job was cancelled · 130 interrupted."""


def exit_of(error: BaseException) -> Exit:
    """Choose the exit code of an error."""
    match error:
        case ConfigurationError() | StoreError() | TransportError():
            return Exit.CONFIGURATION
        case UnknownJob() | JobRemoved() | UnknownBatch() | UnknownSchedule():
            return Exit.UNKNOWN
        case KeyboardInterrupt():
            return Exit.INTERRUPTED
        case _:
            return Exit.FAILED


def report_error(error: BaseException, *, debug: bool) -> Exit:
    """Say on stderr what went wrong, in a paragraph (with `debug`: after its traceback), and give the exit code."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, SidelaneError):
        words = str(error)
    else:
        words = f"{type(error).__name__}: {error}." + ("" if debug else " Add --debug after `sidelane` to see where.")
    stderr().print(Text.assemble(("sidelane: ", "bold red"), words))
    return exit_of(error)


class Commands(TyperGroup):
    """The commands, whose errors end in a paragraph and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if not isinstance(error, SidelaneError) and _known_to_typer(error):
                raise
            raise typer.Exit(report_error(error, debug=bool(ctx.params.get("debug")))) from error


def _known_to_typer(error: Exception) -> bool:
    """Tell whether typer ends this one well itself: its own errors, and a reader of our output that has gone."""
    if isinstance(error, OSError):
        return error.errno == errno.EPIPE
    return isinstance(error, EOFError) or type(error).__module__.split(".")[0] in {"typer", "click"}


def exit_now(status: int) -> None:
    """End the process now, whatever its threads still do."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(status)
