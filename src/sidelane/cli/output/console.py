"""Consoles: data goes to stdout, messages to stderr. Colours and width depend on whether the output is a terminal."""

import json
import os
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

UNBOUNDED = 100_000
"""Width in columns of output that goes to a file or another program, so that lines are never cut."""


def output() -> Console:
    """Return the console for data."""
    return _console(stderr=False)


def stderr() -> Console:
    """Return the console for messages."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, emoji=False, markup=False)
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
    print(json.dumps(document, indent=2, ensure_ascii=False))


def print_json_line(document: Any) -> None:
    """Print one JSON document on one line, and flush."""
    print(json.dumps(document, separators=(",", ":"), ensure_ascii=False), flush=True)


def warning(message: str) -> Text:
    """Return a message marked as a warning."""
    return Text.assemble(("! ", "bold yellow"), (message, "yellow"))
