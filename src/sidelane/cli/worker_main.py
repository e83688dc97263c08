"""Worker process: event loop, signal handling and exit."""

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
    """Run a worker in a new event loop, then end the process, even if a thread of a task still runs."""
    _tune_garbage_collection()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_run(work, debug=debug))


async def _run(work: Callable[[], Coroutine[Any, Any, None]], *, debug: bool) -> None:
    status = Exit.DONE
    try:
        await work()
    except Exception as error:  # noqa: BLE001 - the process ends here, with any error
        status = report_error(error, debug=debug)
    logging.shutdown()
    exit_now(status)


async def run_worker(worker: Worker, facts: Mapping[str, str]) -> None:
    """Log facts about a worker, and run it until signals have stopped it."""
    loop, handler = asyncio.get_running_loop(), SignalHandler(worker)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        loop.add_signal_handler(number, handler.on_signal, number)
    engine = "uvloop" if "uvloop" in sys.modules else "asyncio"
    logger.info("Sidelane %s, process %d, %s", __version__, os.getpid(), engine)
    width = max(map(len, facts))
    for name, value in facts.items():
        logger.info("%s %s", f"{name}:".ljust(width + 1), value)
    await worker.run()


def task_names(worker: Worker) -> str:
    """Return the names of a worker's tasks."""
    known = sorted(without_internal(worker.info().tasks).items())
    tasks = ", ".join(name if version == 1 else f"{name} v{version}" for name, version in known)
    return tasks or "none; check that Sidelane(tasks=[...]) names the modules that declare tasks"


class SignalHandler:
    """Stops a worker by signals: the first drains, the second releases all jobs, the third ends the process."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._count = 0

    def on_signal(self, number: int) -> None:
        self._count = max(self._count + 1, 2 if number == signal.SIGQUIT else 1)
        name = signal.Signals(number).name
        if self._count == 1:
            logger.info("%s: draining; send again to release running jobs immediately", name)
            self._worker.drain()
        elif self._count == 2:
            logger.warning("%s: releasing all running jobs", name)
            self._worker.stop_now()
        else:
            logger.critical("%s: exiting now; the leases of this worker will expire", name)
            exit_now(Exit.FAILED)


def _tune_garbage_collection() -> None:
    """Make the garbage collector skip imported modules and run less often.

    Reference counting frees nearly everything that jobs leave. By default, a worker under load spends a sixth of its time in
    the garbage collector.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 50, 50)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop factory if it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
