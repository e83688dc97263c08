"""Tables that fit the terminal: which columns go where there is no room for all, and which are cut short or wrapped."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

GUTTER = 2

MIN_WIDTH = 16
"""Columns of the terminal that an elastic column keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns of a table: which go first where there is no room for all, which may be cut short or wrapped, and which hold
    numbers, that stand one under another."""

    headers: Sequence[str]
    expendable: Sequence[str] = ()
    elastic: Sequence[str] = ()
    wrapping: Sequence[str] = ()
    numbers: Sequence[str] = ()


def fit_table(console: Console, columns: Columns, rows: Sequence[Sequence[Text]]) -> Table:
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
            header,
            no_wrap=not soft,
            min_width=min(needed[header] - GUTTER, console.width),
            overflow="ellipsis",
            justify="right" if header in columns.numbers else "left",
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
        widest = min(widest, MIN_WIDTH)
    return max(widest, len(header)) + GUTTER
