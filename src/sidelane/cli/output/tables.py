"""Tables that fit the terminal: columns are dropped, shortened or wrapped if there is not enough space. Cells have one line."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from sidelane.model.printable import printable_line

GUTTER = 2

MIN_WIDTH = 16
"""Terminal columns that a shrinkable column keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns of a table.

    Without enough space, `droppable` columns are dropped in this order. `shrinkable` columns are cut. Then `wrapping`
    ones are wrapped. `numbers` are aligned to the right.
    """

    headers: Sequence[str]
    droppable: Sequence[str] = ()
    shrinkable: Sequence[str] = ()
    wrapping: Sequence[str] = ()
    numbers: Sequence[str] = ()


def fit_table(console: Console, columns: Columns, rows: Sequence[Sequence[Text]]) -> Table:
    """Return a table that fits the console. Cells are complete unless their column is shrinkable or wrapping."""
    rows = [[*map(_on_one_line, row)] for row in rows]
    needed = {header: _min_width(columns, index, rows) for index, header in enumerate(columns.headers)}
    for header in columns.droppable:
        if sum(needed.values()) <= console.width:
            break
        del needed[header]
    if sum(needed.values()) > console.width:
        for header in needed.keys() & {*columns.wrapping}:
            needed[header] = min(needed[header], max(MIN_WIDTH, len(header)) + GUTTER)
    table = Table(box=None, pad_edge=False, padding=(0, GUTTER, 0, 0), header_style="dim")
    indexes = [index for index, header in enumerate(columns.headers) if header in needed]
    for index in indexes:
        header = columns.headers[index]
        flexible = header in columns.shrinkable or header in columns.wrapping
        table.add_column(
            header,
            no_wrap=not flexible,
            min_width=min(needed[header] - GUTTER, console.width),
            overflow="fold" if header in columns.wrapping else "ellipsis",
            justify="right" if header in columns.numbers else "left",
        )
    for row in rows:
        for index in indexes:
            row[index].no_wrap = columns.headers[index] not in columns.wrapping
        table.add_row(*(row[index] for index in indexes))
    return table


def facts_grid(facts: Sequence[tuple[str, RenderableType]]) -> Table:
    """Return names with their values, one below the other, without those that are empty. A string is on one line."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        if value:
            grid.add_row(f"  {name}", printable_line(value) if isinstance(value, str) else value)
    return grid


def _on_one_line(cell: Text) -> Text:
    line = printable_line(cell.plain)
    return cell if line == cell.plain else cell.blank_copy(line)


def _min_width(columns: Columns, index: int, rows: Sequence[Sequence[Text]]) -> int:
    """Return the minimum width of a column, with the gutter after it."""
    header = columns.headers[index]
    widest = max((row[index].cell_len for row in rows), default=0)
    if header in columns.shrinkable:
        widest = min(widest, MIN_WIDTH)
    return max(widest, len(header)) + GUTTER
