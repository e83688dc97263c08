"""Consoles: data goes to stdout, messages to stderr. Colours and widths depend on where they go.

Everything that a command prints passes through here, so that no foreign text acts on the terminal.
"""

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from sidelane.model.printable import printable, printable_json, printable_line

UNBOUNDED = 100_000
"""Width in columns of output that goes to a file or another program, so that lines are never cut."""


class PrintableConsole(Console):
    """A console on which no text acts on the terminal. A text with an escaped character has no styles of its parts."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        if isinstance(renderable, str):
            renderable = printable(renderable)
        elif isinstance(renderable, Text) and (text := printable(renderable.plain)) != renderable.plain:
            renderable = renderable.blank_copy(text)
        return super().render(renderable, options)


def output() -> Console:
    """Return the console for data."""
    return _console(stderr=False)


def stderr() -> Console:
    """Return the console for messages."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    console = PrintableConsole(stderr=stderr, highlight=False, emoji=False, markup=False)
    if not interactive(console) and "COLUMNS" not in os.environ:
        console.width = UNBOUNDED
    return console


def interactive(console: Console) -> bool:
    """Return whether a console is a terminal. Colours do not show this, because colours can be forced for a file too."""
    return console.file.isatty()


def write(console: Console, *renderables: RenderableType) -> None:
    """Print on a console. Output to a file or another program has no trailing spaces."""
    if interactive(console):
        for renderable in renderables:
            console.print(renderable)
        return
    with console.capture() as captured:
        for renderable in renderables:
            console.print(renderable)
    console.file.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    print(printable_json(json.dumps(document, indent=2, ensure_ascii=False)))


def print_json_line(document: Any) -> None:
    """Print one JSON document on one line, and flush."""
    print(printable_json(json.dumps(document, separators=(",", ":"), ensure_ascii=False)), flush=True)


def print_text(text: str) -> None:
    """Print text on stdout as it is streamed, without a line end, and flush."""
    sys.stdout.write(printable(text))
    sys.stdout.flush()


def warning(message: str) -> Text:
    """Return a message marked as a warning, on one line."""
    return Text.assemble(("! ", "bold yellow"), (printable_line(message), "yellow"))
