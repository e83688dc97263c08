"""Signs of life of an event loop, and how long there have been none (rules 4)."""

import asyncio
import time

HEARTBEATS_PER_LEASE = 3
"""Heartbeats in one lease."""


class LoopCounter:
    """The main loop's sign of life: a count that it keeps raising."""

    def __init__(self) -> None:
        self.count = 0

    async def run(self, every: float) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(every)


class LoopWatchdog:
    """How long a pulse has been still, as seen by a thread that looks at it at least every `every` seconds.

    A look that comes late counts for `every` at most: a process that was stopped as a whole, or a laptop that slept, is not stuck.
    """

    def __init__(self, pulse: LoopCounter, every: float) -> None:
        self._pulse = pulse
        self._every = every
        self._count = -1
        self._looked = time.monotonic()
        self.seconds = 0.0

    def look(self) -> float:
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, self._every), now
        self.seconds = self.seconds + passed if self._pulse.count == self._count else 0.0
        self._count = self._pulse.count
        return self.seconds
