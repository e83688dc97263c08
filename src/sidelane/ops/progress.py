"""Progress of a command: what it reports while it works, for a terminal, a file or a test."""

from collections.abc import Mapping
from typing import Protocol


class Progress(Protocol):
    """Shows what happens. Each text is one sentence without a line end, except the lines of a log."""

    def report(self, text: str) -> None:
        """Show something that was done."""

    def warn(self, text: str) -> None:
        """Show something that a person should know."""

    def fail(self, text: str, lines: tuple[str, ...] = ()) -> None:
        """Show an error, and the lines of the log that explain it."""

    def waiting(self, states: Mapping[str, str]) -> None:
        """Show what the command waits for: the state of each group that it is not finished with."""
