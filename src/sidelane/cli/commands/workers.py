"""`sidelane workers`: list live workers, API processes and workers that died; drain, resume and restart workers."""

import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import Annotated

import typer
from rich.text import Text

from sidelane.admin.actions import ActionResult
from sidelane.admin.findings.facts import WorkerExit
from sidelane.admin.queues import job_count, list_queues, without_worker
from sidelane.admin.workers import (
    RequestedChange,
    changing_worker_document,
    exit_document,
    in_order,
    read_exits,
    request_workers,
    requested_changes,
)
from sidelane.cli.changes import Reason, change, operator_name
from sidelane.cli.locate import with_client
from sidelane.cli.options import Common, DefaultListGroup, expand_options
from sidelane.cli.output.console import output, print_json, stderr, warning, write
from sidelane.cli.output.process_states import health_text, load_text
from sidelane.cli.output.results import print_results
from sidelane.cli.output.states import one_line
from sidelane.cli.output.tables import MIN_WIDTH, Columns, fit_table
from sidelane.cli.output.time_format import duration, relative_time
from sidelane.client.client import Client
from sidelane.model.settings import Settings
from sidelane.model.sizes import size_text
from sidelane.model.worker import API, WORKER, QueueStats, WorkerInfo
from sidelane.model.worker_request import WorkerAction
from sidelane.stores.contract import Store
from sidelane.stores.factory import redact_url
from sidelane.tasks.internal_queues import without_internal

COLUMNS = Columns(
    headers=("NAME", "HEALTH", "RUNNING", "QUEUES", "TASKS", "HOST", "PID", "STARTED"),
    droppable=("STARTED", "TASKS", "HOST", "PID"),
    shrinkable=("HEALTH", "QUEUES"),
)

EXITS = Columns(
    headers=("NAME", "DIED", "MEMORY", "JOBS", "HOST", "RELEASE", "HOW"),
    droppable=("RELEASE", "HOST", "MEMORY"),
    shrinkable=("NAME", "HOST", "RELEASE", "HOW"),
    numbers=("MEMORY", "JOBS"),
)

MAX_REASON = 200
"""Characters of how a worker died."""

commands = typer.Typer(
    cls=DefaultListGroup,
    help="List the live workers; drain, resume and restart them. Without a command: list them.",
)

Names = Annotated[
    list[str] | None, typer.Argument(metavar="NAME...", help="Names or ids of workers.", show_default=False)
]
Queue = Annotated[
    str, typer.Option("--queue", metavar="QUEUE", help="All workers that take jobs of a queue.", show_default=False)
]


@commands.command("list")
@expand_options
def list_(
    *,
    ended: Annotated[
        bool, typer.Option("--ended", help="List the workers that died instead, and how.", show_default=False)
    ] = False,
    common: Common,
) -> None:
    """List the live workers: health, slots, queues. API processes follow them."""
    if ended:
        _print_exits(common)
        return
    queues, found, changes = with_client(common.settings(), lambda client: _read(client.store))
    if common.as_json:
        print_json([changing_worker_document(worker, changes.get(worker.id)) for worker in found])
        return
    console, now = output(), time.time()
    if found:
        write(console, fit_table(console, COLUMNS, [_row(worker, now) for worker in found]))
    if not any(worker.kind == WORKER for worker in found):
        stderr().print(Text("No worker is alive. Start one with `sidelane worker`.", "yellow"))
    for worker in found:
        if worker.id in changes:
            text = f"{worker.name}: {_change_text(changes[worker.id], now)}"
            stderr().print(text, style="dim", markup=False, highlight=False)
        elif len(worker.health) > MIN_WIDTH:  # the table may have cut it
            stderr().print(warning(f"{worker.name}: {worker.health}"))
    warn_without_worker(queues, found)


@commands.command()
@expand_options
def drain(names: Names = None, *, queue: Queue = "", reason: Reason = "", common: Common) -> None:
    """Let workers finish their jobs and take no more, until you resume them. Their processes stay.

    A new process, e.g. after a restart, is not drained.
    """
    _act(common, names, WorkerAction.DRAIN, queue, reason)


@commands.command()
@expand_options
def resume(names: Names = None, *, queue: Queue = "", common: Common) -> None:
    """Let drained workers take jobs again."""
    _act(common, names, None, queue, "")


@commands.command()
@expand_options
def restart(names: Names = None, *, queue: Queue = "", reason: Reason = "", common: Common) -> None:
    """Replace the processes of workers by new ones. The old ones finish their jobs first.

    In a group, e.g. of `sidelane up`, the new process starts before. A worker without a group exits with 0, so that what
    started it has to start it again.
    """
    _act(common, names, WorkerAction.RESTART, queue, reason)


def _act(common: Common, names: Sequence[str] | None, action: WorkerAction | None, queue: str, reason: str) -> None:
    if not names and not queue:
        raise typer.BadParameter("Name workers, or use --queue.", param_hint="NAME...")
    results = _request(common.settings(), names or (), action, queue=queue, reason=reason)
    print_results(results, as_json=common.as_json, key="name")


def _request(
    settings: Settings, names: Sequence[str], action: WorkerAction | None, *, queue: str, reason: str
) -> list[ActionResult]:
    def act(client: Client) -> Awaitable[list[ActionResult]]:
        return request_workers(client.store, names, action, queue=queue, by=operator_name(), reason=reason)

    return change(settings, f"worker.{action or 'resume'}", act, reason=reason)


async def _read(store: Store) -> tuple[list[QueueStats], list[WorkerInfo], Mapping[str, RequestedChange]]:
    queues, workers = await list_queues(store)
    return queues, in_order(workers), await requested_changes(store, workers)


def _change_text(changed: RequestedChange, now: float) -> str:
    """Return what operators have asked of a worker, and how far it is, e.g. "drain requested by ann 12 s ago, not taken yet"."""
    request = changed.request
    if request is None:
        return "resumed, but does not know it yet"
    state = "not taken yet" if changed.state == "requested" else changed.state
    by = f" by {request.by}" if request.by else ""
    why = f' ("{request.reason}")' if request.reason else ""
    return f"{request.action} requested{by} {duration(now - request.since)} ago{why}, {state}"


def warn_without_worker(queues: Sequence[QueueStats], workers: Sequence[WorkerInfo]) -> None:
    """Warn about queues with jobs that no live worker takes."""
    for queue in without_worker(queues, workers):
        verb = "waits" if queue.queued == 1 else "wait"
        stderr().print(warning(f"{job_count(queue.queued)} {verb} in queue {queue.name!r}, which no live worker takes"))


def _print_exits(common: Common) -> None:
    settings = common.settings()
    exits = with_client(settings, lambda client: read_exits(client.store))
    if common.as_json:
        print_json(list(map(exit_document, exits)))
        return
    if not exits:
        stderr().print(f"No worker has died, as far as {redact_url(settings.store)} knows.", style="dim")
        return
    console, now = output(), time.time()
    write(console, fit_table(console, EXITS, [_exit_row(each, now) for each in exits]))


def _exit_row(died: WorkerExit, now: float) -> list[Text]:
    return [
        Text(died.worker, "bold"),
        Text(relative_time(died.at, now), "dim"),
        Text(size_text(died.memory) if died.memory else ""),
        Text(str(len(died.jobs) or ""), "yellow"),
        Text(died.host, "dim"),
        Text(died.release, "dim"),
        Text(one_line(died.reason, MAX_REASON), "red"),
    ]


def _row(worker: WorkerInfo, now: float) -> list[Text]:
    return [
        Text(worker.name, "bold"),
        health_text(worker.health),
        load_text(worker),
        Text(
            ", ".join(
                f"{name} ({slots})" if slots < worker.slots else name
                for name, slots in without_internal(worker.queues).items()
            )
        ),
        Text("" if worker.kind == API else str(len(without_internal(worker.tasks))), "dim"),
        Text(worker.host, "dim"),
        Text(str(worker.pid), "dim"),
        Text(relative_time(worker.started, now), "dim"),
    ]
