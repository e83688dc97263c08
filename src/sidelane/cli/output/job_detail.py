"""Everything about one job, on one sheet, for operators: tracebacks included."""

import json
import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.json import JSON
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sidelane.admin.documents import (
    Document,
    callback_document,
    failure_document,
    follow_up_document,
    job_document,
    problem_words,
    time_text,
    worker_document,
)
from sidelane.admin.worker_lookup import WorkerLookup
from sidelane.callbacks.status import CallbackRecord
from sidelane.cli.output.callback_table import callbacks_table
from sidelane.cli.output.chains import follows_words, given_words, users_follow_ups
from sidelane.cli.output.console import output, warning, write
from sidelane.cli.output.states import attempts, due_later, state_text, took
from sidelane.cli.output.time_format import duration, relative_time, timestamp
from sidelane.model.job import Failure, JobRecord, State
from sidelane.model.worker import QueuePosition, WorkerInfo

MAX_POSITION = 1000
"""Where the store stops counting the jobs before one."""


def sheet_document(
    record: JobRecord,
    served: WorkerLookup,
    place: QueuePosition | None,
    partial: str,
    callbacks: Sequence[CallbackRecord],
) -> Document:
    """Everything about a job as one JSON document."""
    return {
        **job_document(record),
        "follow_ups": list(map(follow_up_document, record.spec.follow_ups)),
        "callbacks": list(map(callback_document, callbacks)),
        "placeholders": dict(record.spec.placeholders),
        "cascade": record.spec.cascade,
        "partial": partial or None,
        "position": place.before if place else None,
        "wait": place.wait if place else None,
        "has_worker": served.served,
        "notice": served.words or None,
        "running_on": worker_document(served.worker) if served.worker else None,
        "dispatched": {"to": served.sent.to, "until": time_text(served.sent.until)} if served.sent else None,
        "retention": record.spec.retention,
        "history": [failure_document(failure) for failure in record.history],
    }


def print_sheet(
    record: JobRecord,
    served: WorkerLookup,
    place: QueuePosition | None,
    partial: str,
    callbacks: Sequence[CallbackRecord],
) -> None:
    """Print everything about a job."""
    console, now = output(), time.time()
    write(console, Text.assemble("Job ", (record.id, "bold"), "  ", state_text(record, now)))
    if served.words:
        write(console, warning(served.words))
    write(console, _facts(record, served, place, now))
    for title, body in _bodies(record, partial):
        write(console, Text(title, "bold"), Padding(body, (0, 0, 0, 2), expand=False))
    if callbacks:
        table = callbacks_table(console, callbacks, now)
        write(console, Text("Callbacks", "bold"), Padding(table, (0, 0, 0, 2), expand=False))
    if record.history:
        write(console, Text("History", "bold"))
    for failure in record.history:
        write(console, Padding(_failure(failure, now), (0, 0, 0, 2), expand=False))


def _facts(record: JobRecord, served: WorkerLookup, place: QueuePosition | None, now: float) -> RenderableType:
    spec = record.spec
    facts: list[tuple[str, RenderableType]] = [
        ("task", spec.task if spec.version == 1 else f"{spec.task}, version {spec.version}"),
        ("queue", spec.queue if not spec.priority else f"{spec.queue}, priority {spec.priority}"),
        ("user", spec.user or ""),
        ("key", spec.key or ""),
        ("unique", spec.unique or ""),
        ("labels", ", ".join(f"{name}={value}" for name, value in spec.labels.items())),
        ("batch", spec.batch or ""),
        ("parent", f"{spec.parent}, and is cancelled with it" if spec.parent and spec.cascade else spec.parent or ""),
        ("filled in", ", ".join(f"{name}: {given_words(source)}" for name, source in spec.placeholders.items())),
        *((follows_words(each), each.spec.task) for each in users_follow_ups(spec)),
        ("limits", _limits(record)),
        ("trace", spec.trace or ""),
        ("submitted", _when(record.submitted, now)),
        ("due", _when(due_later(record, now), now)),
        ("position", _position(place)),
        ("started", _when(record.started, now)),
        ("ended", _when(record.ended, now)),
        ("took", took(record, now)),
        ("attempt", attempts(record)),
        ("worker", _worker(record, served.worker)),
        ("handed over", f"to {served.sent.to}, until {timestamp(served.sent.until)}" if served.sent else ""),
        ("events", str(record.last) if record.last else ""),
        ("kept", f"for {duration(spec.retention)} after its end"),
    ]
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        if value:
            grid.add_row(f"  {name}", value)
    return grid


def _bodies(record: JobRecord, partial: str) -> list[tuple[str, RenderableType]]:
    bodies: list[tuple[str, RenderableType]] = [("Arguments", _json(record.spec.arguments))]
    if record.progress is not None:
        found = json.loads(record.progress)
        bodies.append(("Progress", f"{found['percent']:g} %  {found.get('message', '')}"))
    if record.result is not None:
        bodies.append(("Result", _json(record.result)))
    elif partial:
        bodies.append(("Result so far", Text(partial)))
    if record.problem is not None:
        bodies.append(("Problem", _document(record.problem.document())))
    return bodies


def _failure(failure: Failure, now: float) -> RenderableType:
    problem = failure.problem
    words = f"{problem.status} {failure.error}" if failure.error else problem_words(problem.document())
    head = Text.assemble(f"attempt {failure.attempt}", (f"  {_when(failure.at, now)}", "dim"), "  ", (words, "red"))
    if not failure.traceback:
        return head
    return Group(head, Padding(Text(failure.traceback.rstrip(), "dim"), (0, 0, 0, 4), expand=False))


def _worker(record: JobRecord, worker: WorkerInfo | None) -> str:
    if worker is not None:
        return f"{worker.name} on {worker.host}, process {worker.pid}, health: {worker.health}"
    return record.worker or ""


def _position(place: QueuePosition | None) -> str:
    if place is None:
        return ""
    words = (
        f"{place.before:,}{' or more' if place.before >= MAX_POSITION else ''} before it"
        if place.before
        else "next of its queue"
    )
    return words if place.wait is None else f"{words}; about {duration(place.wait)} to wait"


def _limits(record: JobRecord) -> Text:
    """Name the limits that bind a job, a line each, and the one it waits at."""
    lines = []
    for limit in record.spec.limits:
        most = f"{limit.most:,} at once" if limit.window is None else f"{limit.most:,} in {duration(limit.window)}"
        line = Text.assemble(limit.id, (f"  {most}, {limit.on_limit}", "dim"))
        if limit.id == record.waiting_for_limit and record.state is State.QUEUED:
            line.append("  it waits here", "magenta")
        lines.append(line)
    return Text("\n").join(lines)


def _when(at: float | None, now: float) -> str:
    return "" if at is None else f"{relative_time(at, now)}  ({timestamp(at)})"


def _json(text: str) -> RenderableType:
    """Write JSON over several lines, a text as itself."""
    value = json.loads(text)
    return Text(value) if isinstance(value, str) else _document(value)


def _document(value: object) -> Text:
    text = JSON.from_data(value, ensure_ascii=False).text
    text.no_wrap, text.overflow = False, "fold"  # else what is too long for the terminal is cut off
    return text
