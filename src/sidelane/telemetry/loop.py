"""Loop meter: counts as long as an event loop is not blocked, and measures how late the loop comes."""

import asyncio
import time
from collections import deque

from sidelane.telemetry.events import LoopMeasured
from sidelane.telemetry.port import Telemetry

MAX_INTERVAL = 1.0
"""Seconds between two measurements at most."""

WINDOW = 10.0
"""Seconds over which `LoopMeter.lag` is the maximum."""


class LoopMeter:
    """Measures the event loop that `run` runs on. Other threads may read `count` and `lag`."""

    def __init__(self, telemetry: Telemetry, *, interval: float = MAX_INTERVAL) -> None:
        self.count = 0  # of measurements; it stands still while the loop is blocked
        self._telemetry = telemetry
        self._interval = min(interval, MAX_INTERVAL)
        self._due: float | None = None  # when the loop should come back, in monotonic seconds
        self._late = deque[float]([0.0], maxlen=max(1, round(WINDOW / self._interval)))

    @property
    def lag(self) -> float:
        """Seconds that the loop came too late at most in the last ten, or comes too late now."""
        due, longest = self._due, max(self._late)
        return longest if due is None else max(longest, time.monotonic() - due)

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            self.count += 1
            self._due = time.monotonic() + self._interval
            await asyncio.sleep(self._interval)
            self._late.append(max(0.0, time.monotonic() - self._due))
            if self._telemetry.wants(LoopMeasured):
                self._telemetry.report(LoopMeasured(lag=self.lag))
