"""`sidelane worker`: run one worker, or several worker processes, until a signal stops them."""

import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import typer

from sidelane.admin.findings.monitor import monitoring
from sidelane.app import Sidelane
from sidelane.cli.group_options import ChildFlags, ReportingParentFlags, parent_options, reporting
from sidelane.cli.locate import load_lane
from sidelane.cli.options import (
    Concurrency,
    LogLevel,
    QueueSlots,
    Slots,
    Strict,
    WorkersLane,
    expand_options,
    level_of,
    log_options,
    slots_by_queue,
    worker_arguments,
)
from sidelane.cli.worker_main import run_and_exit, run_worker, task_names
from sidelane.client.maintenance import report_worker_exit
from sidelane.external.task import external_tasks
from sidelane.model.errors import StoreError
from sidelane.model.worker import OK
from sidelane.model.worker_request import WorkerAction
from sidelane.processes.child import SIDELANE, exit_with_parent
from sidelane.processes.group_main import become_parent
from sidelane.processes.logs import log_to_stderr
from sidelane.processes.parent import Report
from sidelane.stores.factory import redact_url
from sidelane.tasks.internal_queues import without_internal
from sidelane.tasks.job_log_filter import JobLogFilter
from sidelane.transports.contract import Endpoint
from sidelane.worker.worker import Worker

logger = logging.getLogger(__name__)

Name = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Name of this worker in logs and lists. Default: worker-PID@HOST.", show_default=False
    ),
]
Processes = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=256,
        metavar="N",
        help="Number of processes, named NAME-1@HOST and so on, under a parent process.",
        show_default=False,
    ),
]
MaxJobs = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Replace a process after this many jobs.", show_default=False)
]
Development = Annotated[bool, typer.Option("--development", hidden=True)]
"""`sidelane dev` started it and prefixes each line with the worker name. The log has the start and the end of each job instead."""


@dataclass(frozen=True, kw_only=True)
class WorkerFlags:
    """Options of one worker process."""

    queues: QueueSlots = None
    strict: Strict = False
    name: Name = None
    concurrency: Concurrency = None
    development: Development = False

    @property
    def worker_name(self) -> str:
        return self.name or f"worker-{os.getpid()}@{socket.gethostname()}"

    @property
    def slots(self) -> Slots | None:
        """Slots by queue. Raises `typer.BadParameter`."""
        return slots_by_queue(self.queues)


@expand_options
def worker(
    *,
    lane: WorkersLane = None,
    options: WorkerFlags,
    log_level: LogLevel = None,
    processes: Processes = None,
    max_jobs: MaxJobs = None,
    flags: ReportingParentFlags,
    child: ChildFlags,
    ctx: typer.Context,
) -> None:
    """Run jobs until a signal stops the worker.

    SIGTERM or Ctrl-C: drain. The worker takes no more jobs, waits for the running ones (the setting `shutdown_timeout`) and
    releases the rest. The same signal again, or SIGQUIT: release all running jobs at once. A release costs no retry.

    With `--processes` and options that need it, a parent process keeps the processes running and replaces them without a gap.
    SIGHUP replaces all of them, e.g. after a deploy.
    """
    level = level_of(log_level)
    slots = options.slots  # so that an error is reported once, not by each process
    if child.report is None and (processes is not None or max_jobs or flags.need_parent):
        command = [*SIDELANE, "worker", *([lane] if lane else [])]
        command += worker_arguments(level, options.queues, options.concurrency, strict=options.strict)
        command += flags.child_arguments
        count = 1 if processes is None else processes
        name = options.name or "worker"
        become_parent(
            parent_options("worker", name, command, flags, processes=count, max_jobs=max_jobs, log_level=level)
        )
    exit_with_parent(child.parent)
    log_to_stderr(log_options("" if options.development else options.worker_name, level), JobLogFilter())
    loaded = load_lane(lane)
    debug = bool(ctx.find_root().params.get("debug"))
    run_and_exit(lambda: _run(loaded, options, slots, child), debug=debug)


async def _run(lane: Sidelane, options: WorkerFlags, slots: Slots | None, child: ChildFlags) -> None:
    async with lane.open():
        worker = lane.worker(
            name=options.worker_name,
            queues=slots,
            concurrency=options.concurrency or _total_slots(lane, slots),
            exit_when_stuck=True,
            strict=options.strict,
        )
        if options.development:
            worker.log_jobs()
        if child.report is not None:
            worker.instructions.restart = lambda: None  # the parent replaces it when a report says so
        facts = {
            "store": redact_url(lane.settings.store), "queues": _queues(worker, strict=options.strict), "tasks": task_names(worker),
            "consumers": ", ".join(f"{consumer.name} ({consumer.endpoint})" for consumer in lane.consumers),
            "replies": ", ".join(sorted({str(endpoint) for endpoint in _replies_from(lane)})),
        }  # fmt: skip
        metrics = _keep_figures(lane, worker) if child.with_metrics else None
        async with (
            monitoring(lane.client.store, lane.settings),
            reporting(child.report, lambda: _report(worker), lambda *lost: _report_lost(lane, *lost), metrics),
        ):
            await run_worker(worker, {name: value for name, value in facts.items() if value})


async def _report_lost(lane: Sidelane, worker: str, reason: str) -> None:
    """Report to the store that the process of another worker died."""
    try:
        await report_worker_exit(lane.client.store, worker, reason, lease=lane.settings.lease_duration)
    except StoreError as error:
        logger.warning(
            "the store does not know that worker %s died, so its leases must expire first: %s", worker, error
        )


def _keep_figures(lane: Sidelane, worker: Worker) -> Callable[[], str]:
    from sidelane.cli.process_metrics import keep_figures

    return keep_figures(worker.name, [lane], lambda: _report(worker), slots=worker.info().slots)


def _report(worker: Worker) -> Report:
    info = worker.info()
    error = None if info.health == OK else info.health
    return Report(
        ready=worker.can_claim, running=info.running, finished=worker.finished, error=error, worker=worker.id,
        restart=info.request == WorkerAction.RESTART,
    )  # fmt: skip


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


def _queues(worker: Worker, *, strict: bool) -> str:
    info = worker.info()
    queues = (
        name if slots == info.slots else f"{name} ({slots} at once)"
        for name, slots in without_internal(info.queues).items()
    )
    return ", ".join(queues) + ("; strict order" if strict else "")
