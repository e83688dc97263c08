"""What goes to the terminal: data on stdout, everything said about it on stderr; colours and widths fit where it goes."""

import json
import os
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

UNBOUNDED = 100_000
"""Columns of a line that goes to a file or another program: it is never cut."""


def output() -> Console:
    """The console for data."""
    return _console(stderr=False)


def stderr() -> Console:
    """The console for what is said to people."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, emoji=False, markup=False)
    if not interactive(console) and "COLUMNS" not in os.environ:
        console.width = UNBOUNDED
    return console


def interactive(console: Console) -> bool:
    """Tell whether people look at it: colours may be forced upon a file, too."""
    return console.file.isatty()


def write(console: Console, *renderables: RenderableType) -> None:
    """Print on a console; what goes to a file or another program has no spaces at the ends of its lines."""
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
    """Print one JSON document on one line, at once."""
    print(json.dumps(document, separators=(",", ":"), ensure_ascii=False), flush=True)


def warning(words: str) -> Text:
    """Mark words that an operator should not miss."""
    return Text.assemble(("! ", "bold yellow"), (words, "yellow"))
