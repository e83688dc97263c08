"""Jobs as a table: one line each, as much of it as the terminal has room for."""

import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sidelane.admin.documents import problem_words
from sidelane.cli.output.states import attempts, bar, due_later, short, state_text, took
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import relative_time
from sidelane.model.job import JobRecord, State

COLUMNS = Columns(
    headers=("ID", "STATE", "TASK", "QUEUE", "USER", "SUBMITTED", "TOOK", "ATTEMPT", "NOTE"),
    expendable=("USER", "QUEUE", "ATTEMPT", "TOOK", "NOTE"),
    elastic=("TASK", "NOTE"),
)


def jobs_table(console: Console, records: Sequence[JobRecord], now: float) -> Table:
    """Make a table of jobs. `now` is in seconds since 1970."""
    return fit_table(console, COLUMNS, [_row(record, now) for record in records])


def _row(record: JobRecord, now: float) -> list[Text]:
    return [
        Text(record.id),
        state_text(record, now),
        Text(record.spec.task, "bold"),
        Text(record.spec.queue),
        Text(record.spec.user or ""),
        Text(relative_time(record.submitted, now), "dim"),
        Text(took(record, now)),
        attempts(record),
        _note(record, now),
    ]


def _note(record: JobRecord, now: float) -> Text:
    """Write the most telling thing there is: the problem, the progress, the limit it waits at, or when it is due."""
    if record.problem is not None:
        return Text(short(problem_words(record.problem.document())), "red")
    if record.state is State.RUNNING and record.progress is not None:
        return _progress(record.progress)
    due = due_later(record, now)
    if due is None and record.state is State.QUEUED and record.waiting_for_limit is not None:
        return Text(f"limit {record.waiting_for_limit}", "magenta")
    return Text() if due is None else Text(relative_time(due, now), "dim")


def _progress(data: str) -> Text:
    found = json.loads(data)
    text = Text.assemble(bar(found["percent"] / 100), f" {found['percent']:3.0f} %")
    if found.get("message"):
        text.append(f"  {short(found['message'])}", "dim")
    return text
