"""`sidelane worker`: run one worker, or several worker processes, until a signal stops them."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

import typer

from sidelane.app import Sidelane
from sidelane.cli.locate import load_lane
from sidelane.cli.options import (
    Concurrency,
    LogLevel,
    Parent,
    QueueSlots,
    Slots,
    Strict,
    WorkersLane,
    level_of,
    slots_by_queue,
    worker_arguments,
)
from sidelane.cli.worker_main import run_and_exit, run_worker, task_names
from sidelane.external.task import external_tasks
from sidelane.processes.child import CliProcess, exit_with_parent
from sidelane.processes.logs import log_to_stderr
from sidelane.processes.supervisor import Supervisor, process_names
from sidelane.stores.factory import redact_url
from sidelane.tasks.internal_queues import without_internal
from sidelane.transports.contract import Endpoint
from sidelane.worker.worker import Worker

Development = Annotated[bool, typer.Option("--development", hidden=True)]
"""`sidelane dev` started it and prefixes each line with the worker name. The log has the start and the end of each job instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """Command-line options of a worker."""

    queues: Slots | None
    strict: bool
    name: str
    concurrency: int | None
    log_jobs: bool


def worker(
    *,
    lane: WorkersLane = None,
    queues: QueueSlots = None,
    strict: Strict = False,
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of this worker in logs and lists.")] = "worker",
    concurrency: Concurrency = None,
    log_level: LogLevel = None,
    processes: Annotated[
        int, typer.Option(min=1, max=256, metavar="N", help="Number of processes. Several get names like w1-2.")
    ] = 1,
    parent: Parent = None,
    development: Development = False,
    ctx: typer.Context,
) -> None:
    """Run jobs until a signal stops the worker.

    SIGTERM or Ctrl-C: drain. The worker takes no more jobs, waits for the running ones (the setting `shutdown_timeout`) and
    releases the rest. The same signal again, or SIGQUIT: release all running jobs at once. A release costs no retry.
    """
    level = level_of(log_level)
    options = WorkerOptions(
        queues=slots_by_queue(queues), strict=strict, name=name, concurrency=concurrency, log_jobs=development
    )
    exit_with_parent(parent)
    log_to_stderr("" if development else name, level)
    if processes > 1:
        common = ["worker", *([lane] if lane else []), *worker_arguments(level, queues, concurrency, strict=strict)]
        children = [CliProcess(each, [*common, "--name", each]) for each in process_names(name, processes)]
        raise typer.Exit(asyncio.run(Supervisor(children).run()))
    loaded = load_lane(lane)
    debug = bool(ctx.find_root().params.get("debug"))
    run_and_exit(lambda: _run(loaded, options), debug=debug)


async def _run(lane: Sidelane, options: WorkerOptions) -> None:
    async with lane.open():
        worker = lane.worker(
            name=options.name,
            queues=options.queues,
            concurrency=options.concurrency or _total_slots(lane, options.queues),
            exit_when_stuck=True,
            strict=options.strict,
        )
        if options.log_jobs:
            worker.log_jobs()
        facts = {
            "store": redact_url(lane.settings.store), "queues": _queues(worker, options), "tasks": task_names(worker),
            "consumers": ", ".join(f"{consumer.name} ({consumer.endpoint})" for consumer in lane.consumers),
            "replies": ", ".join(sorted({str(endpoint) for endpoint in _replies_from(lane)})),
        }  # fmt: skip
        await run_worker(worker, {name: value for name, value in facts.items() if value})


def _total_slots(lane: Sidelane, queues: Slots | None) -> int | None:
    """Return the sum of the slots in --queues; if a queue has none, at least the setting `concurrency`."""
    if not queues:
        return None
    total = sum(slots or 0 for slots in queues.values())
    return total if all(queues.values()) else max(total, lane.settings.concurrency)


def _replies_from(lane: Sidelane) -> list[Endpoint]:
    """Return the endpoints from which external tasks receive replies."""
    endpoints = [task.routing.replies_from for task in external_tasks(lane.registry)]
    return [endpoint for endpoint in endpoints if endpoint is not None]


def _queues(worker: Worker, options: WorkerOptions) -> str:
    info = worker.info()
    queues = (
        name if slots == info.slots else f"{name} ({slots} at once)"
        for name, slots in without_internal(info.queues).items()
    )
    return ", ".join(queues) + ("; strict order" if options.strict else "")
