"""Store outages: repeats calls until the store is available again, and logs the outage once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sidelane.model.errors import StoreUnavailable

R = TypeVar("R")

MIN_DELAY, MAX_DELAY = 0.05, 2.0
"""Seconds between two attempts, which are doubled each time, up to the maximum."""

logger = logging.getLogger(__name__)


class RetryUntilAvailable:
    """Repeats calls while the store is unavailable, so every call may reach it twice (rule 3).

    `what` completes "this worker cannot …" in the log; `who` replaces "worker" if something else makes the calls.
    """

    def __init__(self, what: str, *, who: str = "worker") -> None:
        self._what = what
        self._who = who
        self.error: str | None = None  # why the store does not answer at the moment, or None

    async def call(self, call: Callable[[], Awaitable[R]], *, stop: Callable[[], bool] = lambda: False) -> R | None:
        """Return the answer, however long it takes, or None if a call fails after `stop` has become true."""
        delay = MIN_DELAY
        while True:
            try:
                answer = await call()
            except StoreUnavailable as error:
                self.failed(error)
                if stop():
                    return None
                await asyncio.sleep(delay)
                delay = min(delay * 2, MAX_DELAY)
            else:
                self.recovered()
                return answer

    def failed(self, error: Exception) -> None:
        """Record that a call has failed."""
        if self.error is None:
            logger.error("this %s cannot %s; it keeps trying: %s", self._who, self._what, error)
        self.error = f"cannot {self._what}: {error}"

    def recovered(self) -> None:
        """Record that the store has answered."""
        if self.error is not None:
            logger.warning("this %s can %s again", self._who, self._what)
        self.error = None
