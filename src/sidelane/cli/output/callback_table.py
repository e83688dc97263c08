"""A job's callbacks as a table: one line each."""

import re
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sidelane.callbacks.status import CallbackRecord
from sidelane.cli.output.states import DOTS, STYLES, short
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import relative_time

COLUMNS = Columns(
    headers=("ID", "STATE", "TO", "ON", "TRIES", "NEXT", "ANSWER"),
    expendable=("ON", "TRIES", "NEXT", "ANSWER"),
    elastic=("TO", "ANSWER"),
)

_KIND = re.compile(r"^[A-Z]\w+: ")


def callbacks_table(console: Console, records: Sequence[CallbackRecord], now: float) -> Table:
    """Make a table of callbacks. `now` is in seconds since 1970."""
    return fit_table(console, COLUMNS, [_row(record, now) for record in records])


def _row(record: CallbackRecord, now: float) -> list[Text]:
    later = record.next_try if record.next_try is not None and record.next_try > now else None
    return [
        Text(record.id or ""),
        _state(record, later is not None),
        Text(record.to, "bold"),
        Text(f"{record.on}, progress" if record.progress else record.on),
        Text(str(record.attempts or "")),
        Text("" if later is None else relative_time(later, now), "dim"),
        Text(short(_met(record)), "red") if record.problem else Text(str(record.status or ""), "green"),
    ]


def _met(record: CallbackRecord) -> str:
    """Say what the last try failed of, without the kind of error and without the receiver, which stands beside it."""
    return _KIND.sub("", record.problem).removeprefix(record.to).lstrip()


def _state(record: CallbackRecord, later: bool) -> Text:
    if record.state is None:
        return Text("waits for the end", "dim")
    name = "retrying" if later and record.attempts else str(record.state)
    return Text(f"{DOTS[record.state]} {name}", STYLES[name])
