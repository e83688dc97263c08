"""Figures of a load while it runs: distributions of durations in bounded memory, and counts."""

import math
import time
from collections import Counter
from dataclasses import dataclass, field

from sidelane.ops.load.plan import LoadPlan

SMALLEST = 1e-6
GROWTH = math.log(1.02)


class Distribution:
    """Positive values, e.g. seconds, each known to within one percent. The memory does not grow with their number."""

    def __init__(self) -> None:
        self.count = 0
        self.max = 0.0
        self._buckets = Counter[int]()  # each reaches from a value to 1.02 times this value

    def observe(self, value: float) -> None:
        """Count a value."""
        self.count += 1
        self.max = max(self.max, value)
        self._buckets[math.floor(math.log(max(value, SMALLEST)) / GROWTH)] += 1

    def quantile(self, q: float) -> float | None:
        """Return the value that a share `q` of all does not exceed. Returns None without a value."""
        missing = math.ceil(q * self.count)
        for bucket in sorted(self._buckets):
            missing -= self._buckets[bucket]
            if missing <= 0:
                return min(math.exp((bucket + 0.5) * GROWTH), self.max)
        return None


@dataclass(slots=True)
class HeavyFigures:
    """Times of the requests of one heavy route, in seconds from when each was due."""

    accepted: Distribution = field(default_factory=Distribution)  # until the 202, or the head of the event stream
    first_event: Distribution = field(default_factory=Distribution)
    first_token: Distribution = field(default_factory=Distribution)
    end: Distribution = field(default_factory=Distribution)


class LoadFigures:
    """What a load has measured so far. Times are those of the monotonic clock."""

    def __init__(self, plan: LoadPlan) -> None:
        self.light = Distribution()
        self.idle = Distribution()  # of the light route before the load
        self.heavy = {route.path: HeavyFigures() for route in plan.heavy}
        self.sent = 0  # requests that were begun, without repeats and polls
        self.in_flight = 0
        self.refused = Counter[int]()  # answers 429 and 503, by status
        self.outcomes = Counter[str]()  # of what was followed to its end
        self.errors = Counter[str]()  # by kind
        self.resumed = 0  # streams that broke and were continued
        self.events = 0
        self.tokens = 0
        self.tokens_per_second = Distribution()  # of each stream, from its first token to its last
        self.lateness = Distribution()  # of requests that were due at a certain time
        self.began: float | None = None  # None before the load
        self.ended: float | None = None
        self._cpu = 0.0

    def begin(self) -> None:
        """Note that the load begins now."""
        self.began, self._cpu = time.monotonic(), time.process_time()

    def end(self) -> None:
        """Note that the load has ended."""
        self.ended, self._cpu = time.monotonic(), time.process_time() - self._cpu

    @property
    def seconds(self) -> float:
        """Seconds since the begin, until the end."""
        return 0.0 if self.began is None else (self.ended or time.monotonic()) - self.began

    @property
    def cpu(self) -> float | None:
        """The share of a core that this process used, or None while the load runs."""
        return self._cpu / self.seconds if self.ended is not None and self.seconds else None
