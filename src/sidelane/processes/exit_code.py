"""Exit codes of Sidelane's processes, and the description of any exit status."""

import signal
from enum import IntEnum

SIGNAL_BASE = 128
"""Shells report a process that a signal ended with this number plus the signal's."""


class Exit(IntEnum):
    """Exit codes of commands. A worker that exits because its event loop is blocked uses 70."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    CONFIGURATION = 3
    UNKNOWN = 4
    CANCELLED = 5
    GAVE_UP = 6
    INTERRUPTED = 130


def shell_status(code: int) -> int:
    """Return the exit status that a shell reports for a return code of `subprocess`, which is negative after a signal."""
    return code if code >= 0 else SIGNAL_BASE - code


def describe_exit(code: int) -> str:
    """Return "signal SIGKILL" or "exit status 3" for a return code of `subprocess` or the exit status of a shell."""
    status = shell_status(code)
    try:
        return f"signal {signal.Signals(status - SIGNAL_BASE).name}"
    except ValueError:
        return f"exit status {status}"
