"""Exit codes of Sidelane's processes."""

from enum import IntEnum


class Exit(IntEnum):
    """How a command ended. A worker that was stuck and ended itself has 70."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    CONFIGURATION = 3
    UNKNOWN = 4
    CANCELLED = 5
    INTERRUPTED = 130
