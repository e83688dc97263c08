"""The one terminal that several processes share: each line stands behind the name of its process."""

import sys
from collections.abc import Sequence
from itertools import cycle

from sidelane.cli.output.logs import colours_wanted

COLOURS = (34, 35, 36, 33)

DIM = 2

SELF = "dev"
"""The name of `sidelane dev` itself among those of its processes."""


class PrefixedOutput:
    """Prints lines for the processes of these names."""

    def __init__(self, names: Sequence[str]) -> None:
        self._width = max(len(name) for name in (*names, SELF))
        self._coloured = colours_wanted(sys.stdout)
        self._colours = {SELF: DIM, **dict(zip(names, cycle(COLOURS), strict=False))}
        self.environment = {"PYTHONUNBUFFERED": "1", **({"FORCE_COLOR": "1"} if self._coloured else {})}

    def say(self, name: str, line: str) -> None:
        """Print a line of one process."""
        prefix = f"{name:{self._width}} │"
        if self._coloured:
            prefix = f"\x1b[{self._colours[name]}m{prefix}\x1b[0m"
        print(f"{prefix} {line}", flush=True)
