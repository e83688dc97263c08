"""Trying until the store answers: what a worker has to say or ask waits for it, and is said once in the log."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sidelane.model.errors import StoreUnavailable

R = TypeVar("R")

MIN_DELAY, MAX_DELAY = 0.05, 2.0
"""Seconds between two tries: the first wait, and the longest it grows to."""

logger = logging.getLogger(__name__)


class RetryUntilAvailable:
    """Repeats calls on a store that is away: every call may come twice (rules 3). `what` completes "this worker cannot …".

    `who` is who says so, where that is no worker.
    """

    def __init__(self, what: str, *, who: str = "worker") -> None:
        self._what = what
        self._who = who
        self.error: str | None = None  # why the store does not answer, while it does not

    async def call(self, call: Callable[[], Awaitable[R]], *, stop: Callable[[], bool] = lambda: False) -> R | None:
        """Give the answer, however long it takes; None when `stop` says that nobody waits for it any more."""
        wait = MIN_DELAY
        while True:
            try:
                answer = await call()
            except StoreUnavailable as error:
                self.failed(error)
                if stop():
                    return None
                await asyncio.sleep(wait)
                wait = min(wait * 2, MAX_DELAY)
            else:
                self.recovered()
                return answer

    def failed(self, error: Exception) -> None:
        """Note that a try has failed."""
        if self.error is None:
            logger.error("this %s cannot %s; it keeps trying: %s", self._who, self._what, error)
        self.error = f"cannot {self._what}: {error}"

    def recovered(self) -> None:
        """Note that the store has answered."""
        if self.error is not None:
            logger.warning("this %s can %s again", self._who, self._what)
        self.error = None
