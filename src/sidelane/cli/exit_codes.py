"""Exit codes for scripts, and the one-paragraph message of each error."""

import os
import sys
import traceback
from contextlib import suppress

from rich.text import Text

from sidelane.cli.output.console import stderr
from sidelane.model.errors import (
    ConfigurationError,
    JobRemoved,
    NoSupervisor,
    ServiceUnreachable,
    SidelaneError,
    StoreError,
    TransportError,
    UnknownBatch,
    UnknownBulkAction,
    UnknownGroup,
    UnknownJob,
    UnknownLimit,
    UnknownSchedule,
)
from sidelane.model.printable import printable
from sidelane.processes.exit_code import Exit

EXIT_CODES = """\
Exit codes: 0 success · 1 a job or batch failed, a request was rejected, `check` or `attention` found something, requests of \
a `load` failed, or an unexpected error · 2 wrong usage · 3 invalid settings, lane, store or transport · 4 no such job, queue, \
schedule, limit, batch or group, or nothing runs · 5 the watched job was cancelled · 130 interrupted."""


def exit_of(error: BaseException) -> Exit:
    """Return the exit code of an error."""
    match error:
        case ConfigurationError() | StoreError() | TransportError():
            return Exit.CONFIGURATION
        case UnknownJob() | JobRemoved() | UnknownBatch() | UnknownBulkAction():
            return Exit.UNKNOWN
        case UnknownSchedule() | UnknownLimit() | UnknownGroup():
            return Exit.UNKNOWN
        case NoSupervisor() | ServiceUnreachable():
            return Exit.UNKNOWN
        case KeyboardInterrupt():
            return Exit.INTERRUPTED
        case _:
            return Exit.FAILED


def report_error(error: BaseException, *, debug: bool) -> Exit:
    """Print an error on stderr as one paragraph, with `debug` after its traceback. Return its exit code."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if debug:
        sys.stderr.write(printable("".join(traceback.format_exception(error))))
    if isinstance(error, SidelaneError):
        message = str(error)
    else:
        hint = "" if debug else " Run `sidelane --debug ...` for the traceback."
        message = f"{type(error).__name__}: {error}.{hint}"
    lines = printable(message).split("\n")
    stderr().print(Text.assemble(("sidelane: ", "bold red"), "\n    ".join(lines)))
    return exit_of(error)


def exit_now(status: int) -> None:
    """End the process now, without waiting for its threads."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # its reader has closed the pipe
            stream.flush()
    os._exit(status)
