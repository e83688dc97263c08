"""Running a worker as a process of its own: from the start of its loop to a clean end, by whichever signal."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from sidelane import __version__
from sidelane.cli.exit_codes import exit_now, report_error
from sidelane.processes.exit_code import Exit
from sidelane.tasks.internal_queues import without_internal
from sidelane.worker.worker import Worker

logger = logging.getLogger(__name__)


def run_and_exit(work: Callable[[], Coroutine[Any, Any, None]], *, debug: bool) -> None:
    """Run what a worker process does, on a loop of its own, and end the process: a task's thread that hangs on must not keep it."""
    _spare_the_collector()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_run(work, debug=debug))


async def _run(work: Callable[[], Coroutine[Any, Any, None]], *, debug: bool) -> None:
    status = Exit.DONE
    try:
        await work()
    except Exception as error:  # noqa: BLE001 - whatever it is, this is where the process ends
        status = report_error(error, debug=debug)
    logging.shutdown()
    exit_now(status)


async def run_worker(worker: Worker, facts: Mapping[str, str]) -> None:
    """Say what a worker works on, and run it until signals have ended it."""
    loop, stopping = asyncio.get_running_loop(), SignalHandler(worker)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        loop.add_signal_handler(number, stopping.hear, number)
    engine = "uvloop" if "uvloop" in sys.modules else "asyncio"
    logger.info("Sidelane %s, process %d, %s", __version__, os.getpid(), engine)
    width = max(map(len, facts))
    for name, value in facts.items():
        logger.info("%s %s", f"{name}:".ljust(width + 1), value)
    await worker.run()


def tasks_of(worker: Worker) -> str:
    """List the tasks that a worker knows."""
    known = sorted(without_internal(worker.info().tasks).items())
    tasks = ", ".join(name if version == 1 else f"{name} v{version}" for name, version in known)
    return tasks or "none: does the lane name the modules that declare them?"


class SignalHandler:
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
            exit_now(Exit.FAILED)


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
