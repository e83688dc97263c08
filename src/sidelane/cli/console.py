"""What goes to the terminal: data on stdout, everything said about it on stderr; colours and widths fit where it goes."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from sidelane.model.job import JobRecord, State

UNBOUNDED = 100_000
"""Columns of a line that goes to a file or another program: it is never cut."""

GUTTER = 2

SHORTEST = 16
"""Columns that an elastic column keeps."""

MINUTE, HOUR, DAY = 60, 3600, 86_400

STYLES = {
    "queued": "yellow",
    "scheduled": "yellow",
    "retrying": "yellow",
    "running": "bold cyan",
    "cancelling": "magenta",
    "succeeded": "green",
    "failed": "bold red",
    "cancelled": "magenta",
}

DOTS = {State.QUEUED: "○", State.RUNNING: "◐", State.SUCCEEDED: "✓", State.FAILED: "✗", State.CANCELLED: "⊘"}


def output() -> Console:
    """The console for data."""
    return _console(stderr=False)


def notes() -> Console:
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


def put(console: Console, *renderables: RenderableType) -> None:
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


def duration(seconds: float) -> str:
    """Write seconds as people say them: "0.3 s", "12 s", "3 min 20 s", "2 h 5 min", "4 days"."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return _two(whole, MINUTE, "min", 1, "s")
    if whole < DAY:
        return _two(whole, HOUR, "h", MINUTE, "min")
    return _days(whole)


def age(then: float, now: float) -> str:
    """Write how long ago something was, or how soon it will be: "just now", "3 min ago", "in 2 h"."""
    seconds = round(now - then)
    if abs(seconds) < 2:
        return "just now"
    for unit, name in ((DAY, "days"), (HOUR, "h"), (MINUTE, "min"), (1, "s")):
        if abs(seconds) >= unit:
            words = _days(abs(seconds)) if unit == DAY else f"{abs(seconds) // unit} {name}"
            return f"{words} ago" if seconds > 0 else f"in {words}"
    return "just now"


def _two(seconds: int, unit: int, name: str, smaller: int, smaller_name: str) -> str:
    rest = seconds % unit // smaller
    return f"{seconds // unit} {name} {rest} {smaller_name}" if rest else f"{seconds // unit} {name}"


def _days(seconds: int) -> str:
    days = seconds // DAY
    return "1 day" if days == 1 else f"{days} days"


def moment(at: float) -> str:
    """Write a time as the clock on the wall has it."""
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def view(record: JobRecord, now: float) -> str:
    """Name a job's state as operators see it: its state, or the view of it that says more."""
    if record.state is State.RUNNING and record.cancelling:
        return "cancelling"
    if record.state is State.QUEUED and record.due is not None and record.due > now:
        return "retrying" if record.failures else "scheduled"
    return str(record.state)


def state_text(record: JobRecord, now: float) -> Text:
    """Write a job's state, coloured."""
    name = view(record, now)
    return Text(f"{DOTS[record.state]} {name}", STYLES[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns of a table: which go first where there is no room for all, and which may be cut short or wrapped."""

    headers: Sequence[str]
    expendable: Sequence[str] = ()
    elastic: Sequence[str] = ()
    wrapping: Sequence[str] = ()


def fitting(console: Console, columns: Columns, rows: Sequence[Sequence[Text]]) -> Table:
    """Make a table that fits the console. What is neither elastic nor wrapping is there whole or not at all."""
    needed = {header: _needed(columns, place, rows) for place, header in enumerate(columns.headers)}
    for header in columns.expendable:
        if sum(needed.values()) <= console.width:
            break
        del needed[header]
    table = Table(box=None, pad_edge=False, padding=(0, GUTTER, 0, 0), header_style="dim")
    places = [place for place, header in enumerate(columns.headers) if header in needed]
    for place in places:
        header = columns.headers[place]
        soft = header in columns.elastic or header in columns.wrapping
        table.add_column(
            header, no_wrap=not soft, min_width=min(needed[header] - GUTTER, console.width), overflow="ellipsis"
        )
    for row in rows:
        for place in places:
            row[place].no_wrap = columns.headers[place] not in columns.wrapping
        table.add_row(*(row[place] for place in places))
    return table


def _needed(columns: Columns, place: int, rows: Sequence[Sequence[Text]]) -> int:
    """Say how wide a column must be at least, with the gutter behind it."""
    header = columns.headers[place]
    widest = max((row[place].cell_len for row in rows), default=0)
    if header in columns.elastic or header in columns.wrapping:
        widest = min(widest, SHORTEST)
    return max(widest, len(header)) + GUTTER
