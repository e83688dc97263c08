"""Following a job in a terminal, or as JSON lines for another program."""

import json
import sys
import time
from contextlib import aclosing
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from sidelane.admin.documents import event_document, job_document, parsed, problem_words
from sidelane.admin.worker_lookup import WorkerLookup, find_worker
from sidelane.cli.output.console import interactive, print_json_line, stderr, warning
from sidelane.cli.output.states import DOTS, STYLES, state_text
from sidelane.cli.output.time_format import duration
from sidelane.client.client import Client
from sidelane.model.event import ATTEMPT, END, GAP, JOB, PROGRESS, TOKEN, Event
from sidelane.model.job import JobRecord, State


class View(Protocol):
    """Shows a job that is being watched."""

    def begin(self, record: JobRecord, served: WorkerLookup) -> None: ...
    def event(self, event: Event) -> None: ...
    def end(self, record: JobRecord, event: Event) -> None: ...
    def close(self) -> None: ...


async def watch_job(client: Client, job_id: str, view: View) -> State:
    """Follow a job to its end and give the state it ended in. Raises `UnknownJob` or `JobGone`."""
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
    """One JSON document a line: the job, then each event, its end last."""

    def begin(self, record: JobRecord, served: WorkerLookup) -> None:
        data = {**job_document(record), "has_worker": served.served, "notice": served.words or None}
        print_json_line({"number": None, "at": None, "event": JOB, "data": data})

    def event(self, event: Event) -> None:
        print_json_line(event_document(event))

    def end(self, record: JobRecord, event: Event) -> None:
        self.event(event)

    def close(self) -> None:
        pass


class TerminalView:
    """Tokens on stdout as they come; on stderr a progress bar and a line for everything else."""

    def __init__(self) -> None:
        self._notes: Console = stderr()
        self._bar: Progress | None = None
        self._progress: TaskID | None = None
        self._in_line = False  # stdout stands in the middle of a line
        self._spoke = False  # there were tokens in this attempt

    def begin(self, record: JobRecord, served: WorkerLookup) -> None:
        state = state_text(record, time.time())
        self._notes.print(Text.assemble(("Job ", "dim"), record.id, "  ", (record.spec.task, "bold"), "  ", state))
        if served.words:
            self._notes.print(warning(served.words))

    def event(self, event: Event) -> None:
        name, data = event.name, parsed(event.data)
        if name == TOKEN:
            self._token(data["text"])
        elif name == PROGRESS:
            self._show_progress(data["percent"], data.get("message") or "")
        elif name == ATTEMPT:
            self._spoke = False
            self._note(Text(f"↻ attempt {data['attempt']}: it starts over", "yellow"))
        elif name == GAP:
            missing = data.get("missing")
            lost = f"… {missing} events were lost" if missing else "… some events are not kept any more"
            self._note(Text(lost, "yellow"))
        else:
            self._note(Text.assemble((f"{name} ", "bold"), json.dumps(data, ensure_ascii=False)))

    def end(self, record: JobRecord, event: Event) -> None:
        data = parsed(event.data)
        state = State(data["state"])
        if state is State.SUCCEEDED and self._bar is not None and self._progress is not None:
            self._bar.update(self._progress, completed=100, description="")
        if state is State.SUCCEEDED and not self._spoke and data.get("result") is not None:
            self._token(_text(data["result"]))
        words = Text(f"{DOTS[state]} {state}", STYLES[state])
        if record.started is not None and record.ended is not None:
            words.append(f" after {duration(record.ended - record.started)}", "dim")
        if problem := data.get("problem"):
            words.append(f": {problem_words(problem)}")
        self._note(words)

    def close(self) -> None:
        self._stop_bar()
        self._end_line()

    def _token(self, text: str) -> None:
        self._stop_bar()
        sys.stdout.write(text)
        sys.stdout.flush()
        self._spoke = True
        self._in_line = not text.endswith("\n") if text else self._in_line

    def _note(self, words: Text) -> None:
        self._stop_bar()
        self._end_line()
        self._notes.print(words)

    def _show_progress(self, percent: float, message: str) -> None:
        if not interactive(self._notes):
            self._note(Text(f"{percent:3.0f} %  {message}".rstrip()))
            return
        if self._bar is None or self._progress is None:
            self._end_line()
            columns = (
                BarColumn(40),
                TextColumn("{task.percentage:3.0f} %"),
                TimeElapsedColumn(),
                TextColumn("{task.description}"),
            )
            self._bar = Progress(*columns, console=self._notes)
            self._progress = self._bar.add_task("", total=100)
            self._bar.start()
        self._bar.update(self._progress, completed=percent, description=message)

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._progress = None

    def _end_line(self) -> None:
        if self._in_line:
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._in_line = False


def _text(result: object) -> str:
    return result if isinstance(result, str) else json.dumps(result, indent=2, ensure_ascii=False)
