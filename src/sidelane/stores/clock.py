"""A clock that only moves when a test turns it."""

import threading

NEW_YEAR_2027 = 1_798_761_600.0


class ManualClock:
    """Tell the time a test has set, in seconds since 1970. Any thread may read or turn it."""

    def __init__(self, start: float = NEW_YEAR_2027) -> None:
        self._now = start
        self._lock = threading.Lock()

    def __call__(self) -> float:
        with self._lock:
            return self._now

    def advance(self, seconds: float) -> float:
        """Go on by so many seconds (negative: a step back) and tell the new time."""
        with self._lock:
            self._now += seconds
            return self._now

    def set(self, now: float) -> None:
        """Jump to a time, forward or back."""
        with self._lock:
            self._now = now
