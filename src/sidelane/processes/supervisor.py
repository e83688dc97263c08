"""Several worker processes under a small parent: it forwards signals, and starts again the one that died."""

import asyncio
import logging
import signal
import time
from collections.abc import Sequence

from sidelane.processes.child import SIGNAL_BASE, CliProcess
from sidelane.processes.exit_code import Exit

MIN_DELAY, MAX_DELAY = 0.5, 30.0
"""Seconds before a process that died is started again: doubled each time, up to the longest."""

STABLE_AFTER = 60.0
"""Seconds after which a process counts as having run well."""

FATAL_EXITS = frozenset({Exit.USAGE, Exit.CONFIGURATION})
"""Exit codes of a process that would end in the same way again."""

REQUESTED_EXITS = frozenset({SIGNAL_BASE + signal.SIGTERM, SIGNAL_BASE + signal.SIGINT, SIGNAL_BASE + signal.SIGQUIT})
"""Statuses of a process that was told to stop before it could do so in good order: nothing was lost."""

logger = logging.getLogger(__name__)


class Supervisor:
    """Keeps its children running until it is told to stop."""

    def __init__(self, children: Sequence[CliProcess]) -> None:
        self._children = children
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Run until every child has ended for good, and give the worst of their statuses."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, self._forward, number)
        return max(await asyncio.gather(*(self._keep(child) for child in self._children)))

    def _forward(self, number: int) -> None:
        self._stopping.set()
        for child in self._children:
            child.signal(number)

    async def _keep(self, child: CliProcess) -> int:
        """Run a child, again and again until it should stop."""
        wait, first = MIN_DELAY, True
        while True:
            await child.start()
            if self._stopping.is_set():
                child.signal(signal.SIGTERM)  # it was being started when the signal came
            began = time.monotonic()
            status = await child.wait()
            if self._stopping.is_set():
                return Exit.DONE if status in REQUESTED_EXITS else status
            if first and status in FATAL_EXITS:
                self._forward(signal.SIGTERM)
                return status
            first = False
            wait = MIN_DELAY if time.monotonic() - began > STABLE_AFTER else wait
            logger.error("worker %s died (%s); it is started again in %g s", child.name, describe_exit(status), wait)
            if await self._stops_within(wait):
                return Exit.DONE
            wait = min(wait * 2, MAX_DELAY)

    async def _stops_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True


def names_of(name: str, count: int) -> list[str]:
    """Name so many processes: by the name alone where there is one, else "w-1", "w-2" and so on."""
    return [name] if count == 1 else [f"{name}-{number + 1}" for number in range(count)]


def describe_exit(status: int) -> str:
    """Say how a process ended."""
    if status > SIGNAL_BASE:
        return f"signal {signal.Signals(status - SIGNAL_BASE).name}"
    return f"exit status {status}"
