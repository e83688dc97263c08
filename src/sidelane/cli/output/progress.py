"""Progress of commands that start and stop a service: lines, and on a terminal a live line of what is awaited."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.status import Status
from rich.text import Text

from sidelane.cli.output.console import interactive, stderr, warning
from sidelane.cli.output.results import CHECK, CROSS
from sidelane.cli.output.time_format import duration
from sidelane.model.printable import printable_line

MIN_INTERVAL = 5.0
"""Seconds between two lines about what is awaited, if there is no terminal."""


class ServiceProgress:
    """Prints on stderr what happens to a service."""

    def __init__(self) -> None:
        self._console = stderr()
        self._status: Status | None = self._console.status("") if interactive(self._console) else None
        self._began = self._printed = time.monotonic()
        self._states: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def report(self, text: str) -> None:
        """Show something that was done."""
        self._console.print(Text.assemble(CHECK, printable_line(text)))

    def warn(self, text: str) -> None:
        """Show something that a person should know."""
        self._console.print(warning(text))

    def fail(self, text: str, lines: tuple[str, ...] = ()) -> None:
        """Show an error, and the lines of the log that explain it."""
        self._console.print(Text.assemble(CROSS, printable_line(text)))
        for line in lines:
            self._console.print(Text(f"    {printable_line(line)}", "dim"))

    def waiting(self, states: Mapping[str, str]) -> None:
        """Show the state of each group that the command waits for."""
        now = time.monotonic()
        text = "; ".join(f"{name}: {state}" for name, state in states.items())
        if self._status is not None:
            self._show(self._status, text, now)
        elif states and states != self._states and now - self._printed > MIN_INTERVAL:
            self._printed, self._states = now, dict(states)
            self._console.print(printable_line(text), style="dim")

    def _show(self, status: Status, text: str, now: float) -> None:
        if not text:
            status.stop()
            return
        status.update(Text.assemble(printable_line(text), (f"  {duration(now - self._began)}", "dim")))
        status.start()
