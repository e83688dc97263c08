"""`sidelane queues`: list, show, pause, resume and drain queues."""

import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import Annotated, Self

import typer
from rich.status import Status
from rich.text import Text

from sidelane.admin import queues
from sidelane.admin.actions import ActionResult
from sidelane.admin.actions import Status as ActionStatus
from sidelane.admin.documents import queue_document
from sidelane.admin.figures import history_document, read_history
from sidelane.admin.pauses import PauseRequest, pause_document, pause_text
from sidelane.admin.queue_overview import Line, QueueOverview, overview_document, read_line, read_overview
from sidelane.cli.changes import PauseOptions, change, operator_name
from sidelane.cli.commands.workers import warn_without_worker
from sidelane.cli.locate import with_client
from sidelane.cli.options import Common, DefaultListGroup, HistorySince, expand_options
from sidelane.cli.output.console import interactive, output, print_json, stderr, warning, write
from sidelane.cli.output.history_tables import print_queues
from sidelane.cli.output.queue_detail import queue_detail
from sidelane.cli.output.results import print_results
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import duration, format_rate
from sidelane.client.client import Client
from sidelane.client.pauses import Pause, Pauses, read_pauses
from sidelane.model.settings import Settings
from sidelane.model.worker import QueueStats, WorkerInfo
from sidelane.stores.contract import Store
from sidelane.stores.factory import redact_url

COLUMNS = Columns(
    headers=("NAME", "STATE", "READY", "AT LIMIT", "DELAYED", "RUNNING", "OLDEST", "RATE", "WORKERS"),
    droppable=("RATE", "OLDEST"),
    shrinkable=("NAME",),
    numbers=("READY", "AT LIMIT", "DELAYED", "RUNNING", "OLDEST", "RATE", "WORKERS"),
)

commands = typer.Typer(
    cls=DefaultListGroup, help="List, show, pause, resume and drain queues. Without a command: list them."
)

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of queues.", show_default=False)]


@commands.command("list")
@expand_options
def list_(*, since: HistorySince = None, common: Common) -> None:
    """List the queues: open or paused, their queued and running jobs, how fast jobs start, and the number of workers.

    READY jobs can start. AT LIMIT jobs wait for a limit, DELAYED ones for their time. OLDEST is how long the oldest ready job
    has waited. RATE is how many jobs started, averaged over about the last minute. WORKERS is the number of live workers.

    With --since, the list shows the history of each queue instead. STARTS is a chart of the attempts that STARTED. FAILED is the
    share of failed jobs. WAIT is how long jobs waited to start: P50 is the median; P95 is what 95 % do not exceed.
    """
    settings = common.settings()
    if since is not None:
        history = with_client(settings, lambda client: read_history(client.store, since))
        if common.as_json:
            print_json(history_document(history, "queues", history.by_queue()))
        else:
            print_queues(history)
        return
    found, workers, pauses = with_client(settings, lambda client: _read(client.store))
    if common.as_json:
        print_json(
            [{**queue_document(queue, workers), "pause": pause_document(_pause_of(queue, pauses))} for queue in found]
        )
        return
    if not found:
        stderr().print(f"No queue in {redact_url(settings.store)} yet.", style="dim")
        return
    console = output()
    write(console, fit_table(console, COLUMNS, [_row(queue, workers) for queue in found]))
    warn_without_worker(found, workers)
    for queue in found:
        if (pause := _pause_of(queue, pauses)) and (text := pause_text(pause, time.time())):
            stderr().print(f"{queue.name} is paused {text}", style="dim", markup=False, highlight=False)
    for queue in found:
        if queue.waiting_for_batch:
            count = queues.job_count(queue.waiting_for_batch)
            stderr().print(warning(f"{count} of paused batches in {queue.name}; see `sidelane batches list`"))
    if paused := [queue.name for queue in found if queue.paused and queue.queued]:
        message = f"jobs wait in paused queues; start them with `sidelane queues resume {' '.join(paused)}`"
        stderr().print(warning(message))


@commands.command()
@expand_options
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a queue.", show_default=False)],
    *,
    common: Common,
) -> None:
    """Show one queue: its wait against its target, its rates and slots, which limits hold its jobs, and the users in line.

    The users are those of the running and of the newest jobs. STARTED 1 H counts their jobs that started in the last hour.
    """
    queue, line, workers = with_client(common.settings(), lambda client: _overview(client, name))
    if queue is None:
        unknown = ActionResult(
            name, ActionStatus.NOT_FOUND, "no such queue: the store has never seen a job or a worker of it"
        )
        print_results([unknown], as_json=common.as_json, key="name")
    elif common.as_json:
        print_json(overview_document(queue, line, workers))
    else:
        console = output()
        write(console, queue_detail(console, queue, line))


@commands.command()
@expand_options
def pause(names: Names, *, options: PauseOptions, common: Common) -> None:
    """Start no more jobs of these queues, on any worker. Running jobs go on; jobs can still be submitted."""
    results = _pause(common.settings(), names, options.request())
    print_results(results, as_json=common.as_json, key="name")


@commands.command()
@expand_options
def resume(names: Names, *, common: Common) -> None:
    """Let jobs of these queues start again, on all workers."""
    results = change(
        common.settings(), "queue.resume", lambda client: queues.set_paused(client.store, names, paused=False)
    )
    print_results(results, as_json=common.as_json, key="name")


@commands.command()
@expand_options
def drain(
    names: Names,
    *,
    timeout: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="Maximum time to wait. Default: no maximum.", show_default=False),
    ] = None,
    common: Common,
) -> None:
    """Pause these queues and wait until no job of them runs. They stay paused, even if Ctrl-C ends the wait.

    The exit code is 1 if jobs still run after --timeout.
    """
    settings = common.settings()
    results = _pause(settings, names, PauseRequest(by=operator_name()))
    paused = [result.name for result in results if result.status is ActionStatus.DONE]
    try:
        left = _drain(settings, paused, timeout) if paused else {}
    except KeyboardInterrupt:
        resume_command = f"`sidelane queues resume {' '.join(paused)}`"
        stderr().print(warning(f"interrupted; still paused: {', '.join(paused)}. Resume with {resume_command}."))
        raise
    results = [queues.drain_result(result, left) for result in results]
    print_results(results, as_json=common.as_json, key="name")


class DrainView:
    """Shows how many jobs still run: on a terminal one live line, elsewhere a line for each change."""

    def __init__(self) -> None:
        self._stderr = stderr()
        self._status: Status | None = self._stderr.status("") if interactive(self._stderr) else None
        self._began = time.monotonic()
        self._printed: Mapping[str, int] = {}

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def show(self, running: Mapping[str, int]) -> None:
        """Show the number of running jobs by queue."""
        message = "still running: " + ", ".join(f"{count:,} of {name}" for name, count in running.items())
        if self._status is not None:
            waited = duration(time.monotonic() - self._began)
            self._status.update(Text.assemble(message, (f"  {waited}", "dim")))
        elif running != self._printed:
            self._stderr.print(message)
        self._printed = running


def _pause(settings: Settings, names: Sequence[str], request: PauseRequest) -> list[ActionResult]:
    def act(client: Client) -> Awaitable[list[ActionResult]]:
        return queues.set_paused(client.store, names, paused=True, request=request)

    return change(settings, "queue.pause", act, reason=request.reason)


async def _read(store: Store) -> tuple[list[QueueStats], list[WorkerInfo], Pauses]:
    return *await queues.list_queues(store), await read_pauses(store)


def _pause_of(queue: QueueStats, pauses: Pauses) -> Pause | None:
    """Return the pause of a queue, which the store itself must also have paused."""
    return pauses.queues.get(queue.name) if queue.paused else None


async def _overview(client: Client, name: str) -> tuple[QueueOverview | None, Line, Sequence[WorkerInfo]]:
    store = client.store
    return await read_overview(store, name), await read_line(store, name, time.time()), await store.workers()


def _drain(settings: Settings, names: Sequence[str], timeout: float | None) -> dict[str, int]:
    with DrainView() as view:
        return with_client(settings, lambda client: queues.wait_until_drained(client.store, names, timeout, view.show))


def _row(queue: QueueStats, workers: Sequence[WorkerInfo]) -> list[Text]:
    count = sum(queue.name in worker.queues for worker in workers)
    return [
        Text(queue.name, "bold"),
        Text("‖ paused", "bold yellow") if queue.paused else Text("● open", "green"),
        _number(queue.ready),
        _number(queue.waiting_for_limit, "magenta"),
        _number(queue.delayed, "yellow"),
        _number(queue.running, "bold cyan"),
        Text("" if queue.oldest is None else duration(queue.oldest)),
        Text(format_rate(queue.rate)),
        Text(f"{count}") if count else Text("none", "bold red" if queue.queued else "dim"),
    ]


def _number(count: int, style: str = "") -> Text:
    return Text(f"{count:,}", style if count else "dim")
