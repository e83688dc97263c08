"""`sidelane workers`: list the live workers with their health, slots and queues, the API processes, and how workers died."""

import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from sidelane.admin.documents import worker_document
from sidelane.admin.findings.facts import WorkerExit
from sidelane.admin.queues import job_count, list_queues, without_worker
from sidelane.admin.workers import exit_document, in_order, read_exits
from sidelane.cli.locate import with_client
from sidelane.cli.options import Common, expand_options
from sidelane.cli.output.console import output, print_json, stderr, warning, write
from sidelane.cli.output.process_states import health_text, load_text
from sidelane.cli.output.states import one_line
from sidelane.cli.output.tables import MIN_WIDTH, Columns, fit_table
from sidelane.cli.output.time_format import relative_time
from sidelane.model.sizes import size_text
from sidelane.model.worker import API, WORKER, QueueStats, WorkerInfo
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


@expand_options
def workers(
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
    queues, found = with_client(common.settings(), lambda client: list_queues(client.store))
    found = in_order(found)
    if common.as_json:
        print_json([worker_document(worker) for worker in found])
        return
    console, now = output(), time.time()
    if found:
        write(console, fit_table(console, COLUMNS, [_row(worker, now) for worker in found]))
    if not any(worker.kind == WORKER for worker in found):
        stderr().print(Text("No worker is alive. Start one with `sidelane worker`.", "yellow"))
    for worker in found:
        if len(worker.health) > MIN_WIDTH:  # the table may have cut it
            stderr().print(warning(f"{worker.name}: {worker.health}"))
    warn_without_worker(queues, found)


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
