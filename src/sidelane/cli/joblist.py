"""Jobs as a table: one line each, as much of it as the terminal has room for."""

import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sidelane.cli.console import Columns, age, duration, fitting, state_text
from sidelane.model.job import JobRecord

COLUMNS = Columns(
    headers=("ID", "STATE", "TASK", "QUEUE", "USER", "SUBMITTED", "TOOK", "ATTEMPT", "NOTE"),
    expendable=("USER", "QUEUE", "ATTEMPT", "TOOK", "NOTE"),
    elastic=("TASK", "NOTE"),
)

LONGEST_NOTE = 60

BAR = 10


def jobs_table(console: Console, records: Sequence[JobRecord], now: float) -> Table:
    """Make a table of jobs. `now` is in seconds since 1970."""
    return fitting(console, COLUMNS, [_row(record, now) for record in records])


def _row(record: JobRecord, now: float) -> list[Text]:
    return [
        Text(record.id),
        state_text(record, now),
        Text(record.spec.task, "bold"),
        Text(record.spec.queue),
        Text(record.spec.user or ""),
        Text(age(record.submitted, now), "dim"),
        Text(took(record, now)),
        attempts(record),
        _note(record, now),
    ]


def took(record: JobRecord, now: float) -> str:
    """Write how long the last attempt has run."""
    if record.started is None or (record.ended is None and not _running(record)):
        return ""
    return duration((record.ended if record.ended is not None else now) - record.started)


def attempts(record: JobRecord) -> Text:
    """Write how many attempts there were, and what became of those that did not work."""
    text = Text(str(record.attempt) if record.attempt else "")
    if record.failures:
        text.append(f"  {record.failures} failed", "red")
    if record.losses:
        text.append(f"  {record.losses} lost", "yellow")
    return text


def _running(record: JobRecord) -> bool:
    return record.state == "running"


def _note(record: JobRecord, now: float) -> Text:
    """Write the most telling thing there is: the problem, the progress, or when it is due."""
    if record.problem is not None:
        problem = record.problem.document()
        return Text(_short(f"{problem['status']} {problem.get('detail') or problem['title']}"), "red")
    if _running(record) and record.progress is not None:
        return _progress(record.progress)
    if record.state == "queued" and record.due is not None and record.due > now:
        return Text(age(record.due, now), "dim")
    return Text()


def _progress(data: str) -> Text:
    found = json.loads(data)
    done = round(BAR * found["percent"] / 100)
    text = Text.assemble(("━" * done, "cyan"), ("━" * (BAR - done), "bright_black"), f" {found['percent']:3.0f} %")
    if found.get("message"):
        text.append(f"  {_short(found['message'])}", "dim")
    return text


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_NOTE else f"{line[: LONGEST_NOTE - 1]}…"
