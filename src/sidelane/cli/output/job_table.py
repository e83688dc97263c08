"""Job table: one line per job, with the columns that fit the terminal."""

import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sidelane.admin.documents import error_text
from sidelane.admin.jobs import due_later
from sidelane.cli.output.states import attempts, bar, one_line, run_time, state_text
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import relative_time
from sidelane.model.job import JobRecord, State

COLUMNS = Columns(
    headers=("ID", "STATE", "TASK", "QUEUE", "USER", "SUBMITTED", "TOOK", "ATTEMPT", "NOTE"),
    droppable=("USER", "QUEUE", "ATTEMPT", "TOOK", "NOTE", "SUBMITTED"),
    shrinkable=("TASK", "NOTE"),
)


def jobs_table(console: Console, records: Sequence[JobRecord], now: float) -> Table:
    """Return a table of jobs. `now` is in seconds since 1970."""
    return fit_table(console, COLUMNS, [_row(record, now) for record in records])


def _row(record: JobRecord, now: float) -> list[Text]:
    return [
        Text(record.id),
        state_text(record, now),
        Text(record.spec.task, "bold"),
        Text(record.spec.queue),
        Text(record.spec.user or ""),
        Text(relative_time(record.submitted, now), "dim"),
        Text(run_time(record, now)),
        attempts(record),
        _note(record, now),
    ]


def _note(record: JobRecord, now: float) -> Text:
    """Return the most useful detail: the error, the progress, the full limit, or when the job is due."""
    error = one_line(error_text(record))
    if record.problem is not None:
        return Text(error, "red")
    if record.state is State.RUNNING and record.progress is not None:
        return _progress(record.progress)
    due = due_later(record, now)
    if due is None and record.state is State.QUEUED and record.waiting_for_limit is not None:
        return Text(f"limit {record.waiting_for_limit}", "magenta")
    if due is None:
        return Text()
    after = Text(relative_time(due, now), "dim")
    return after.append(f"  {error}", "red") if error else after


def _progress(data: str) -> Text:
    found = json.loads(data)
    text = Text.assemble(bar(found["percent"] / 100), f" {found['percent']:3.0f} %")
    if found.get("message"):
        text.append(f"  {one_line(found['message'])}", "dim")
    return text
