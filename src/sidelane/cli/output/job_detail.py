"""Job detail: everything about one job for operators, with tracebacks and callbacks."""

import json
import re
import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.json import JSON
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sidelane.admin.documents import error_text, problem_text
from sidelane.admin.jobs import JobDetail, JobView, due_later, users_follow_ups
from sidelane.admin.limits import ChangedLimit, change_in_force, numbers_text
from sidelane.admin.stack import JobStack
from sidelane.admin.timeline import time_spent, tokens_per_second
from sidelane.admin.why import MAX_POSITION, NOW, Explanation, explain
from sidelane.callbacks.status import CallbackRecord
from sidelane.cli.output.console import output, warning, write
from sidelane.cli.output.states import DOTS, STYLES, attempts, one_line, run_time, state_text
from sidelane.cli.output.tables import Columns, facts_grid, fit_table
from sidelane.cli.output.time_format import duration, relative_time, timestamp
from sidelane.model.job import FINISHED, Failure, FollowUp, JobRecord, State
from sidelane.model.printable import printable_line
from sidelane.model.transition import timeline
from sidelane.model.worker import QueuePosition, WorkerInfo
from sidelane.tasks.placeholders import BATCH, FAILURE_OF_PARENT, RESULT_OF_PARENT

SOURCES = {RESULT_OF_PARENT: "result of the parent", FAILURE_OF_PARENT: "failure of the parent"}

OUTCOMES = {State.SUCCEEDED: "success", State.FAILED: "failure", State.CANCELLED: "cancel"}

CALLBACK_COLUMNS = Columns(
    headers=("ID", "STATE", "TO", "ON", "TRIES", "NEXT", "ANSWER"),
    droppable=("ON", "TRIES", "NEXT", "ANSWER"),
    shrinkable=("TO", "ANSWER"),
)

ERROR_NAME = re.compile(r"^[A-Z]\w+: ")


def print_job(detail: JobDetail) -> None:
    """Print everything about a job."""
    console, now, record = output(), time.time(), detail.record
    write(console, Text.assemble("Job ", (record.id, "bold"), "  ", state_text(record, now)))
    print_explanation(console, explain(detail.situation, now), warn=detail.lookup.notice is not None)
    write(console, _facts(detail, now))
    for title, body in _sections(record, detail.partial):
        write(console, Text(title, "bold"), _indented(body))
    if detail.callbacks:
        write(console, Text("Callbacks", "bold"), _indented(callbacks_table(console, detail.callbacks, now)))
    write(console, Text("Timeline", "bold"), _indented(_timeline(record)))
    if record.history:
        write(console, Text("History", "bold"))
    for failure in record.history:
        write(console, _indented(_failure(failure, now)))


def print_explanation(console: Console, explanation: Explanation, *, warn: bool) -> None:
    """Print why a job is as it is. `warn` marks the reason why it cannot start or continue."""
    texts = [(title, printable_line(" ".join(map(str, sentences)))) for title, sentences in explanation.items()]
    mark = "yellow" if warn else "bold"
    write(console, facts_grid([(title.lower(), Text(text, mark if title == NOW else "")) for title, text in texts]))


def print_stack(found: JobStack) -> None:
    """Print what a job does now, or the reason why that is not known."""
    console, record = output(), found.record
    write(console, Text.assemble("Job ", (record.id, "bold"), "  ", state_text(record, time.time())))
    if found.stack is None:
        write(console, warning(str(found.notice)))
        return
    worker = _worker(record, found.lookup.worker)
    write(
        console,
        facts_grid([("attempt", attempts(record)), ("worker", worker), ("now", f"it {found.stack.activity}")]),
    )
    if found.stack.text:
        write(console, _indented(Text(found.stack.text.rstrip())))


def callbacks_table(console: Console, records: Sequence[CallbackRecord], now: float) -> Table:
    """Return a table of a job's callbacks. `now` is in seconds since 1970."""
    return fit_table(console, CALLBACK_COLUMNS, [_callback_row(record, now) for record in records])


def follow_up_label(follow_up: FollowUp) -> str:
    """Return at which ends of a job or batch a follow-up is submitted: "then", "at the end" or e.g. "on failure"."""
    if follow_up.on == {State.SUCCEEDED}:
        return "then"
    if follow_up.on >= FINISHED:
        return "at the end"
    return f"on {' or '.join(OUTCOMES[state] for state in sorted(follow_up.on))}"


def _facts(detail: JobDetail, now: float) -> RenderableType:
    record, spec, sent = detail.record, detail.record.spec, detail.lookup.sent
    facts: list[tuple[str, RenderableType]] = [
        ("task", spec.task if spec.version == 1 else f"{spec.task}, version {spec.version}"),
        ("queue", spec.queue if not spec.priority else f"{spec.queue}, priority {spec.priority}"),
        ("user", spec.user or ""),
        ("key", spec.key or ""),
        ("unique", spec.unique or ""),
        ("labels", ", ".join(f"{name}={value}" for name, value in spec.labels.items())),
        ("batch", spec.batch or ""),
        ("parent", f"{spec.parent}, cancelled with it" if spec.parent and spec.cascade else spec.parent or ""),
        ("placeholders", ", ".join(f"{name}: {_source(source)}" for name, source in spec.placeholders.items())),
        *((follow_up_label(each), each.spec.task) for each in users_follow_ups(spec)),
        ("limits", _limits(record, detail.situation.changed)),
        ("trace", spec.trace or ""),
        ("submitted", _when(record.submitted, now)),
        ("due", _when(due_later(record, now), now)),
        ("position", _position(detail.position)),
        ("started", _when(record.started, now)),
        ("ended", _when(record.ended, now)),
        ("took", run_time(record, now)),
        ("time spent", _time_spent(record, now)),
        ("error", Text(one_line(error, len(error)), "red") if (error := error_text(record)) else ""),
        ("attempt", attempts(record)),
        ("used", _usage(record)),
        ("worker", _worker(record, detail.lookup.worker)),
        ("dispatched", f"to {sent.to}, until {timestamp(sent.until)}" if sent else ""),
        ("events", str(record.last) if record.last else ""),
        ("listeners", f"{detail.listeners:,} now" if detail.listeners else ""),
        ("retention", duration(spec.retention)),
    ]
    return facts_grid(facts)


def _time_spent(record: JobRecord, now: float) -> str:
    return ", ".join(f"{duration(seconds)} {phase}" for phase, seconds in time_spent(record, now).items())


def _usage(record: JobRecord) -> str:
    """Return what all attempts of a job used, with the tokens per second of a finished job."""
    usage, rate = record.usage, tokens_per_second(record)
    parts = [
        f"{usage.input_tokens:,} input tokens" if usage.input_tokens else "",
        f"{usage.output_tokens:,} output tokens" if usage.output_tokens else "",
        "" if rate is None else f"{rate:,.1f} tokens/s",
        f"cost {usage.cost:.6g}" if usage.cost else "",
    ]
    return ", ".join(filter(None, parts))


def _timeline(record: JobRecord) -> RenderableType:
    """Return what happened to a job, one change a line, with the seconds since its submit."""
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for each in timeline(record):
        release = f"release {each.release}" if each.release else ""
        detail = ", ".join(filter(None, (each.detail, release)))
        table.add_row(f"{each.at - record.submitted:,.1f} s", each.change, printable_line(detail))
    return table


def _sections(record: JobRecord, partial: str) -> list[tuple[str, RenderableType]]:
    sections: list[tuple[str, RenderableType]] = [("Arguments", _json(record.spec.arguments))]
    if (progress := record.progress_value) is not None:
        sections.append(("Progress", Text(f"{progress.percent:g} %  {progress.message}")))
    if record.result is not None:
        sections.append(("Result", _json(record.result)))
    elif partial:
        sections.append(("Result so far", Text(partial)))
    if record.problem is not None:
        sections.append(("Problem, as clients see it", _document(record.problem.document())))
    return sections


def _failure(failure: Failure, now: float) -> RenderableType:
    problem = failure.problem
    error = f"{problem.status} {failure.error}" if failure.error else problem_text(problem.document())
    message = one_line(error, len(error))
    head = Text.assemble(f"attempt {failure.attempt}", (f"  {_when(failure.at, now)}", "dim"), "  ", (message, "red"))
    if not failure.traceback:
        return head
    return Group(head, Padding(Text(failure.traceback.rstrip(), "dim"), (0, 0, 0, 4), expand=False))


def _worker(record: JobRecord, worker: WorkerInfo | None) -> str:
    if worker is not None:
        return f"{worker.name} on {worker.host}, process {worker.pid}, health: {worker.health}"
    return record.worker or ""


def _position(position: QueuePosition | None) -> str:
    if position is None:
        return ""
    more = " or more" if position.before >= MAX_POSITION else ""
    text = f"{position.before:,}{more} ahead" if position.before else "next in its queue"
    return text if position.wait is None else f"{text}; estimated wait {duration(position.wait)}"


def _limits(record: JobRecord, changed: Sequence[ChangedLimit]) -> Text:
    """Return the limits of a job, one per line, by the numbers in force, and mark the limit that the job waits for."""
    lines = []
    for limit in record.spec.limits:
        change = change_in_force(changed, limit.id)
        size = numbers_text(limit) if change is None else f"{numbers_text(change.override)} (changed)"
        line = Text.assemble(printable_line(limit.id), (f"  {size}, {limit.on_limit}", "dim"))
        if limit.id == record.waiting_for_limit and record.state is State.QUEUED:
            line.append("  waiting for this limit", "magenta")
        lines.append(line)
    return Text("\n").join(lines)


def _source(source: str) -> str:
    """Return the source of an argument that is filled in when the job starts."""
    if source.startswith(BATCH):
        return f"end of batch {source.removeprefix(BATCH)}"
    return SOURCES.get(source, source)


def _callback_row(record: CallbackRecord, now: float) -> list[Text]:
    due = record.next_try if record.next_try is not None and record.next_try > now else None
    return [
        Text(record.id or ""),
        _callback_state(record, due),
        Text(record.to, "bold"),
        Text(f"{record.on}, progress" if record.progress else record.on),
        Text(str(record.attempts or "")),
        Text("" if due is None else relative_time(due, now), "dim"),
        Text(one_line(_callback_error(record)), "red") if record.problem else Text(str(record.status or ""), "green"),
    ]


def _callback_state(record: CallbackRecord, due: float | None) -> Text:
    if record.state is None:
        return Text("waiting for the job", "dim")
    name = JobView.RETRYING if due is not None and record.attempts else JobView(record.state)
    return Text(f"{DOTS[record.state]} {name}", STYLES[name])


def _callback_error(record: CallbackRecord) -> str:
    """Return the last error without its class name and its receiver, which has its own column."""
    return ERROR_NAME.sub("", record.problem).removeprefix(record.to).lstrip()


def _indented(body: RenderableType) -> RenderableType:
    return Padding(body, (0, 0, 0, 2), expand=False)


def _when(at: float | None, now: float) -> str:
    return "" if at is None else f"{relative_time(at, now)}  ({timestamp(at)})"


def _json(text: str) -> RenderableType:
    """Return JSON on several lines, but a string unchanged."""
    value = json.loads(text)
    return Text(value) if isinstance(value, str) else _document(value)


def _document(value: object) -> Text:
    text = JSON.from_data(value, ensure_ascii=False).text
    text.no_wrap, text.overflow = False, "fold"  # by default a long line is cut off
    return text
