"""`ManualClock`, a clock for tests that advances only by `advance` and `set`."""

import threading

NEW_YEAR_2027 = 1_798_761_600.0


class ManualClock:
    """Return the time that a test has set, in seconds since 1970. Thread-safe."""

    def __init__(self, start: float = NEW_YEAR_2027) -> None:
        self._now = start
        self._lock = threading.Lock()

    def __call__(self) -> float:
        with self._lock:
            return self._now

    def advance(self, seconds: float) -> float:
        """Advance by some seconds (negative: step back) and return the new time."""
        with self._lock:
            self._now += seconds
            return self._now

    def set(self, now: float) -> None:
        """Set the time, forward or back."""
        with self._lock:
            self._now = now
