"""`sidelane worker`: one worker, or several processes of them, from the start to a clean end."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import typer

from sidelane import __version__
from sidelane.app import Sidelane
from sidelane.cli.child import Child, stay_with
from sidelane.cli.exits import Exit, leave, tell
from sidelane.cli.lanes import load_lane
from sidelane.cli.logs import log_to_stderr
from sidelane.cli.options import (
    Concurrency,
    LogLevel,
    Parent,
    Queues,
    QueueSlots,
    Strict,
    level_of,
    passed_on,
    slots_by_queue,
)
from sidelane.cli.processes import Processes, names_of
from sidelane.engine.side import users
from sidelane.engine.worker import Worker
from sidelane.model.worker import WorkerInfo
from sidelane.stores.opening import without_password

logger = logging.getLogger(__name__)

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
    lane: Annotated[
        str | None,
        typer.Argument(
            metavar="MODULE:ATTR",
            help="The lane, for example shop.lane:lane. Else SIDELANE_LANE.",
            show_default=False,
        ),
    ] = None,
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
    stay_with(parent)
    log_to_stderr("" if prefixed else name, level)
    if processes > 1:
        common = ["worker", *([lane] if lane else []), *passed_on(level, queues, concurrency, strict=strict)]
        children = [Child(each, [*common, "--name", each]) for each in names_of(name, processes)]
        raise typer.Exit(asyncio.run(Processes(children).run()))
    found = load_lane(lane)
    _spare_the_collector()
    debug = bool(ctx.find_root().params.get("debug"))
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(found, plan, debug=debug))


async def _serve(lane: Sidelane, plan: Plan, *, debug: bool) -> None:
    """Run a worker to its end, and the process with it: a task's thread that hangs on must not keep it."""
    status = Exit.DONE
    try:
        await _work(lane, plan)
    except Exception as error:  # noqa: BLE001 - whatever it is, this is where the process ends
        status = tell(error, debug=debug)
    logging.shutdown()
    leave(status)


async def _work(lane: Sidelane, plan: Plan) -> None:
    async with lane.running():
        made = lane.worker(
            name=plan.name,
            queues=plan.queues,
            concurrency=plan.concurrency or _asked_for(lane, plan.queues),
            exit_when_stuck=True,
            strict=plan.strict,
        )
        loop, stopping = asyncio.get_running_loop(), Stopping(made)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, stopping.hear, number)
        _introduce(lane, made.info(), plan)
        await made.run()


def _asked_for(lane: Sidelane, queues: Queues | None) -> int | None:
    """Add up the slots that --queues asks for: all there are where every queue has a number, else at least so many."""
    if not queues:
        return None
    asked = sum(slots or 0 for slots in queues.values())
    return asked if all(queues.values()) else max(asked, lane.settings.concurrency)


class Stopping:
    """What signals do to a worker: it drains, then it gives everything back, then it goes without a word."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._heard = 0

    def hear(self, number: int) -> None:
        self._heard = max(self._heard + 1, 2 if number == signal.SIGQUIT else 1)
        name = signal.Signals(number).name
        if self._heard == 1:
            logger.info("%s: no more jobs; the running ones may finish (the same again gives them back at once)", name)
            self._worker.drain()
        elif self._heard == 2:
            logger.warning("%s: every job is given back at once", name)
            self._worker.stop_now()
        else:
            logger.critical("%s: gone; the leases of this worker will run out", name)
            leave(Exit.FAILED)


def _introduce(lane: Sidelane, info: WorkerInfo, plan: Plan) -> None:
    tasks = ", ".join(
        name if version == 1 else f"{name} v{version}" for name, version in sorted(users(info.tasks).items())
    )
    queues = ", ".join(
        name if slots == info.slots else f"{name} ({slots} at once)" for name, slots in users(info.queues).items()
    )
    engine = "uvloop" if "uvloop" in sys.modules else "asyncio"
    logger.info("Sidelane %s, process %d, %s", __version__, os.getpid(), engine)
    logger.info("store:  %s", without_password(lane.settings.store))
    logger.info("queues: %s%s", queues, "; strictly one before the next" if plan.strict else "")
    logger.info("tasks:  %s", tasks or "none: does the lane name the modules that declare them?")


def _spare_the_collector() -> None:
    """Let the garbage collector pass over what was imported, and look less often at what jobs leave: nearly all of it is freed
    without it, and a worker under load spends a sixth of its time there otherwise."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 50, 50)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Take uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
