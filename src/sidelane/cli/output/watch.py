"""Live view of a job: in a terminal, or as JSON lines."""

import json
import time
from contextlib import aclosing
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from sidelane.admin.documents import error_text, event_document, job_document, parse_json, problem_text
from sidelane.admin.job_notices import WorkerLookup, find_worker
from sidelane.cli.output.console import interactive, print_json_line, print_text, stderr, warning
from sidelane.cli.output.states import DOTS, STYLES, state_text
from sidelane.cli.output.time_format import duration
from sidelane.client.client import Client
from sidelane.model.event import ATTEMPT, END, GAP, JOB, PROGRESS, TOKEN, TRUNCATED, Event
from sidelane.model.job import JobRecord, State
from sidelane.model.printable import printable_line


class WatchView(Protocol):
    """Shows a job that is watched."""

    def begin(self, record: JobRecord, lookup: WorkerLookup) -> None: ...
    def event(self, event: Event) -> None: ...
    def end(self, record: JobRecord, event: Event) -> None: ...
    def close(self) -> None: ...


async def watch_job(client: Client, job_id: str, view: WatchView) -> State:
    """Show a job until it ends. Return its final state. Raises `UnknownJob` or `JobRemoved`."""
    record = await client.record(job_id)
    view.begin(record, await find_worker(record, client.store))
    try:
        async with aclosing(client.events(job_id)) as events:
            async for event in events:
                if event.name == END:
                    record = await client.record(job_id)
                    view.end(record, event)
                    return State(json.loads(event.data)["state"])
                view.event(event)
    finally:
        view.close()
    return record.state


class JsonView:
    """Prints one line of JSON for the job and for each event; the last line is the end."""

    def begin(self, record: JobRecord, lookup: WorkerLookup) -> None:
        data = {
            **job_document(record),
            "has_worker": lookup.has_worker,
            "notice": str(lookup.notice) if lookup.notice else None,
        }
        print_json_line({"number": None, "at": None, "event": JOB, "data": data})

    def event(self, event: Event) -> None:
        print_json_line(event_document(event))

    def end(self, record: JobRecord, event: Event) -> None:
        self.event(event)

    def close(self) -> None:
        pass


class TerminalView:
    """Prints tokens on stdout as they arrive. Progress and all other events go to stderr."""

    def __init__(self) -> None:
        self._stderr: Console = stderr()
        self._bar: Progress | None = None
        self._progress: TaskID | None = None
        self._in_line = False  # stdout is not at the start of a line
        self._streamed = False  # this attempt has sent tokens

    def begin(self, record: JobRecord, lookup: WorkerLookup) -> None:
        state = state_text(record, time.time())
        self._stderr.print(Text.assemble(("Job ", "dim"), record.id, "  ", (record.spec.task, "bold"), "  ", state))
        if lookup.notice:
            self._stderr.print(warning(str(lookup.notice)))

    def event(self, event: Event) -> None:
        name, data = event.name, parse_json(event.data)
        if name == TOKEN:
            self._token(data["text"])
        elif name == PROGRESS:
            self._show_progress(data["percent"], printable_line(data.get("message") or ""))
        elif name == ATTEMPT:
            self._streamed = False
            self._print(Text(f"↻ attempt {data['attempt']}: the output starts again", "yellow"))
        elif name == GAP:
            missing = data.get("missing")
            message = f"… {missing} events were lost" if missing else "… some events are no longer stored"
            self._print(Text(message, "yellow"))
        elif name == TRUNCATED:
            self._streamed = False  # the result is printed whole
            self._print(Text("… the log is full: later events are dropped", "yellow"))
        else:
            self._print(Text.assemble((f"{name} ", "bold"), json.dumps(data, ensure_ascii=False)))

    def end(self, record: JobRecord, event: Event) -> None:
        data = parse_json(event.data)
        state = State(data["state"])
        if state is State.SUCCEEDED and self._bar is not None and self._progress is not None:
            self._bar.update(self._progress, completed=100, description="")
        if state is State.SUCCEEDED and not self._streamed and data.get("result") is not None:
            self._token(_text(data["result"]))
        message = Text(f"{DOTS[state]} {state}", STYLES[state])
        if record.started is not None and record.ended is not None:
            message.append(f" after {duration(record.ended - record.started)}", "dim")
        problem = data.get("problem")
        error = error_text(record) or (problem_text(problem) if problem else "")
        if error:
            message.append(f": {printable_line(error)}")
        self._print(message)
        if problem and problem_text(problem) != error:
            self._print(Text(f"  clients see: {printable_line(problem_text(problem))}", "dim"))

    def close(self) -> None:
        self._stop_bar()
        self._end_line()

    def _token(self, text: str) -> None:
        self._stop_bar()
        print_text(text)
        self._streamed = True
        self._in_line = not text.endswith("\n") if text else self._in_line

    def _print(self, message: Text) -> None:
        self._stop_bar()
        self._end_line()
        self._stderr.print(message)

    def _show_progress(self, percent: float, message: str) -> None:
        if not interactive(self._stderr):
            self._print(Text(f"{percent:3.0f} %  {message}".rstrip()))
            return
        if self._bar is None or self._progress is None:
            self._end_line()
            columns = (
                BarColumn(40),
                TextColumn("{task.percentage:3.0f} %"),
                TimeElapsedColumn(),
                TextColumn("{task.description}", markup=False),  # a message is no markup
            )
            self._bar = Progress(*columns, console=self._stderr)
            self._progress = self._bar.add_task("", total=100)
            self._bar.start()
        self._bar.update(self._progress, completed=percent, description=message)

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._progress = None

    def _end_line(self) -> None:
        if self._in_line:
            print_text("\n")
            self._in_line = False


def _text(result: object) -> str:
    return result if isinstance(result, str) else json.dumps(result, indent=2, ensure_ascii=False)
