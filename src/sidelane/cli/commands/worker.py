"""`sidelane worker`: one worker, or several processes of them, from the start to a clean end."""

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
    Queues,
    QueueSlots,
    Strict,
    WorkersLane,
    level_of,
    passed_on,
    slots_by_queue,
)
from sidelane.cli.output.logs import log_to_stderr
from sidelane.cli.worker_main import run_and_exit, run_worker, tasks_of
from sidelane.external.task import external_tasks
from sidelane.processes.child import CliProcess, exit_with_parent
from sidelane.processes.supervisor import Supervisor, names_of
from sidelane.stores.factory import redact_url
from sidelane.tasks.internal_queues import without_internal
from sidelane.transports.contract import Endpoint
from sidelane.worker.worker import Worker

Prefixed = Annotated[bool, typer.Option("--prefixed", hidden=True)]
"""Whoever reads our lines puts them behind our name, so they do not bring it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the command line asks of a worker."""

    queues: Queues | None
    strict: bool
    name: str
    concurrency: int | None


def worker(
    *,
    lane: WorkersLane = None,
    queues: QueueSlots = None,
    strict: Strict = False,
    name: Annotated[str, typer.Option(metavar="NAME", help="What to call this worker in logs and lists.")] = "worker",
    concurrency: Concurrency = None,
    log_level: LogLevel = None,
    processes: Annotated[
        int, typer.Option(min=1, max=256, metavar="N", help="Processes to run; more than one get names like w1-2.")
    ] = 1,
    parent: Parent = None,
    prefixed: Prefixed = False,
    ctx: typer.Context,
) -> None:
    """Run jobs until told to stop.

    SIGTERM or Ctrl-C: take no more jobs, let the running ones finish for a while (the setting `drain`), give the rest back.
    The same again, or SIGQUIT: give everything back at once. What is given back costs a job nothing.
    """
    level = level_of(log_level)
    plan = Plan(queues=slots_by_queue(queues), strict=strict, name=name, concurrency=concurrency)
    exit_with_parent(parent)
    log_to_stderr("" if prefixed else name, level)
    if processes > 1:
        common = ["worker", *([lane] if lane else []), *passed_on(level, queues, concurrency, strict=strict)]
        children = [CliProcess(each, [*common, "--name", each]) for each in names_of(name, processes)]
        raise typer.Exit(asyncio.run(Supervisor(children).run()))
    found = load_lane(lane)
    debug = bool(ctx.find_root().params.get("debug"))
    run_and_exit(lambda: _work(found, plan), debug=debug)


async def _work(lane: Sidelane, plan: Plan) -> None:
    async with lane.open():
        made = lane.worker(
            name=plan.name,
            queues=plan.queues,
            concurrency=plan.concurrency or _asked_for(lane, plan.queues),
            exit_when_stuck=True,
            strict=plan.strict,
        )
        facts = {
            "store": redact_url(lane.settings.store), "queues": _queues_of(made, plan), "tasks": tasks_of(made),
            "consumers": ", ".join(f"{each.name} of {each.endpoint}" for each in lane.consumers),
            "replies": ", ".join(sorted({str(endpoint) for endpoint in _replies_from(lane)})),
        }  # fmt: skip
        await run_worker(made, {name: words for name, words in facts.items() if words})


def _asked_for(lane: Sidelane, queues: Queues | None) -> int | None:
    """Add up the slots that --queues asks for: all there are where every queue has a number, else at least so many."""
    if not queues:
        return None
    asked = sum(slots or 0 for slots in queues.values())
    return asked if all(queues.values()) else max(asked, lane.settings.concurrency)


def _replies_from(lane: Sidelane) -> list[Endpoint]:
    """Return the endpoints that external tasks are completed from."""
    endpoints = [task.routing.replies_from for task in external_tasks(lane.registry)]
    return [endpoint for endpoint in endpoints if endpoint is not None]


def _queues_of(worker: Worker, plan: Plan) -> str:
    info = worker.info()
    queues = (
        name if slots == info.slots else f"{name} ({slots} at once)"
        for name, slots in without_internal(info.queues).items()
    )
    return ", ".join(queues) + ("; strictly one before the next" if plan.strict else "")
