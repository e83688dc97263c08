"""Log lines of several groups: each with the name of its group in a colour."""

import sys
from collections.abc import Collection

from sidelane.model.printable import printable
from sidelane.processes.logs import use_colours

COLOURS = ("36", "35", "33", "32", "34", "96", "95", "93", "92", "94")
"""Colours of prefixes, by the position of the group."""


class LogPrinter:
    """Prints lines on stdout, with the name of the group before each."""

    def __init__(self, names: Collection[str]) -> None:
        self._coloured = use_colours(sys.stdout)
        self._positions = {name: number for number, name in enumerate(names)}
        self._width = max(map(len, names), default=0)

    def __call__(self, name: str, line: str) -> None:
        """Print one line. Characters that would act on the terminal are escaped."""
        position = self._positions.setdefault(name, len(self._positions))
        prefix = name.ljust(self._width)
        if self._coloured:
            prefix = f"\x1b[{COLOURS[position % len(COLOURS)]}m{prefix}\x1b[0m"
        sys.stdout.write(f"{prefix} │ {printable(line)}\n")
        sys.stdout.flush()
