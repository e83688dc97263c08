"""History: what happened to jobs in each minute and hour, as counts of a bounded number of series.

A series is a queue, a task and the release of the workers that ran its jobs. Its counts are added up in cells: one per minute, one
per ten minutes, and one per hour. A cell is a sparse mapping of fields to integers. The totals of a series since the store was
created have the same fields.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

MINUTE: Final = 60
TEN_MINUTES: Final = 600
HOUR: Final = 3600

STEPS: Final = {MINUTE: 72 * HOUR, TEN_MINUTES: 72 * HOUR, HOUR: 60 * 24 * HOUR}
"""Seconds that one cell covers, and the seconds for which such cells are kept."""

MAX_SERIES: Final = 200
"""Series that may be counted within 72 hours. Further ones are counted as the series `OTHER`."""

OTHER: Final = "other"
"""Task of the series that has the counts of all series beyond `MAX_SERIES`. Its queue and release are empty."""

MAX_RELEASE: Final = 128
"""Maximum characters of a release."""

TOP_USERS: Final = 20
"""Users that are kept of each hour, by each of the amounts of `UserUsage`."""

BUCKETS: Final = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
)  # fmt: skip
"""Upper bounds of a histogram's buckets in seconds. One more bucket has everything above the last."""

MAX_USAGE: Final = 1_000_000_000
"""Maximum tokens, and maximum cost, of one attempt."""

_BUCKET_COUNT = len(BUCKETS) + 1


class Count(IntEnum):
    """The fields of a cell. Durations are milliseconds, and those that end in `_MS` are sums.

    The fields from `MAX_READY` on are maxima of a queue, which two cells join by the greater one; all others are added. They belong
    to the series of the queue without a task.
    """

    SUBMITTED = 0  # new jobs, those of follow-ups and schedules too
    REFUSED_QUEUE_FULL = 1
    REFUSED_LIMIT = 2
    REFUSED_OTHER = 3
    REQUEUED = 4
    STARTED = 5  # attempts
    SUCCEEDED = 6  # ends of jobs; a requeued job ends again
    FAILED = 7
    CANCELLED = 8
    EXPIRED = 9  # of FAILED: its deadline or its time to start had passed while it was queued
    RETRIED = 10  # attempts that failed and are followed by another
    RELEASED = 11  # attempts that were handed back
    THROTTLED = 12  # of RETRIED, RELEASED and FAILED: a provider asked to try later, e.g. by the status 429
    LOST = 13  # worker losses
    DISPATCHED = 14  # attempts that continue at an external worker
    WAIT_MS = 15  # from when a job was able to start to its start, without pauses
    LIMIT_WAIT_MS = 16  # for a limit
    PAUSE_WAIT_MS = 17  # for a paused queue or batch
    RUN_MS = 18  # of attempts that have ended
    FIRST_EVENT_MS = 19  # from the start of an attempt to its first event
    STREAM_MS = 20  # from the first event of an attempt to its end
    EVENTS = 21  # events of attempts that have ended
    INPUT_TOKENS = 22  # as the task reports them
    OUTPUT_TOKENS = 23
    COST_MICROS = 24  # millionths of the currency's unit
    WAIT = 32  # the first bucket of a histogram with the fields 32 to 50; its values are summed up in WAIT_MS
    RUN = 52  # likewise, in RUN_MS
    FIRST_EVENT = 72  # likewise, in FIRST_EVENT_MS
    MAX_READY = 112
    MAX_DELAYED = 113
    MAX_WAITING_FOR_LIMIT = 114
    MAX_RUNNING = 115
    MAX_HEAD_WAIT_MS = 116  # `QueueStats.head_wait`


Counts = Mapping[int, int]
"""The fields of a cell that are not zero."""


@dataclass(frozen=True, slots=True)
class Series:
    """The jobs of one task in one queue whose attempts one release runs. `release` is empty before the first start of a job."""

    queue: str
    task: str
    release: str = ""


@dataclass(frozen=True, slots=True)
class HistoryCell:
    """The counts of a series from the time `at` on, for as long as the step that was asked for. Totals have the time 0."""

    at: float
    series: Series
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryQuery:
    """A range of history. `step` is one of `STEPS`; the cells that overlap `since` to `until` match. None means any."""

    since: float
    until: float
    step: int = MINUTE
    queue: str | None = None
    task: str | None = None

    def __post_init__(self) -> None:
        if self.step not in STEPS:
            raise ValueError(f"step={self.step}: history has cells of {', '.join(map(str, STEPS))} seconds.")


@dataclass(frozen=True, slots=True, kw_only=True)
class UserUsage:
    """What one user did in the hour from `at` on. Users that are not among the top of any amount are left out.

    `tokens` are those that went in and came out. Internal jobs, e.g. callbacks, count for no user.
    """

    at: float
    user: str
    submitted: int = 0
    refused: int = 0
    run_time: float = 0.0  # seconds
    tokens: int = 0
    cost: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What an attempt used, as its task reports it: tokens of a language model, and a cost in any currency.

    Raises ValueError for a number that is negative, not finite or above `MAX_USAGE`.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0

    def __post_init__(self) -> None:
        tokens: dict[str, object] = {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens}
        for name, count in tokens.items():
            if type(count) is not int or not 0 <= count <= MAX_USAGE:
                raise ValueError(f"{name}={count!r}: this is a whole number from 0 to {MAX_USAGE:,}.")
        cost: object = self.cost
        if isinstance(cost, bool) or not isinstance(cost, int | float) or not 0 <= cost <= MAX_USAGE:
            raise ValueError(f"cost={cost!r}: this is a number from 0 to {MAX_USAGE:,}.")

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost=self.cost + other.cost,
        )


NO_USAGE: Final = Usage()


@dataclass(frozen=True, slots=True)
class Histogram:
    """Durations, counted in the buckets of `BUCKETS`. `total` is their sum in seconds."""

    counts: Sequence[int] = field(default=(0,) * _BUCKET_COUNT)
    total: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)

    def quantile(self, q: float) -> float | None:
        """Return the duration that a share `q` of all does not exceed, by linear interpolation within its bucket.

        Returns None without a duration. What exceeds the last bound counts as this bound.
        """
        rank = q * self.count
        below = 0
        for index, count in enumerate(self.counts):
            if count and below + count >= rank:
                lower = BUCKETS[index - 1] if index else 0.0
                upper = BUCKETS[min(index, len(BUCKETS) - 1)]
                return lower + (upper - lower) * (rank - below) / count
            below += count
        return None


def bucket_of(seconds: float) -> int:
    """Return the index of the bucket that a duration is counted in."""
    return bisect_left(BUCKETS, seconds)


def milliseconds(seconds: float) -> int:
    """Return a duration as it is counted: whole milliseconds, and 0 if the clock went back meanwhile."""
    return int(seconds * 1000 + 0.5) if seconds > 0 else 0


_TOTALS = {Count.WAIT: Count.WAIT_MS, Count.RUN: Count.RUN_MS, Count.FIRST_EVENT: Count.FIRST_EVENT_MS}


def histogram(counts: Counts, first: Count) -> Histogram:
    """Return the histogram whose first bucket is `WAIT`, `RUN` or `FIRST_EVENT`."""
    buckets = tuple(counts.get(first + index, 0) for index in range(_BUCKET_COUNT))
    return Histogram(buckets, counts.get(_TOTALS[first], 0) / 1000)


def add_duration(counts: dict[int, int], first: Count, seconds: float) -> None:
    """Count a duration in the histogram whose first bucket is `WAIT`, `RUN` or `FIRST_EVENT`."""
    bucket = first + bucket_of(seconds)
    counts[bucket] = counts.get(bucket, 0) + 1
    add(counts, _TOTALS[first], milliseconds(seconds))


def add(counts: dict[int, int], count: int, amount: int) -> None:
    """Add an amount to a field, which stays out of the mapping while it is zero."""
    if amount:
        counts[count] = counts.get(count, 0) + amount


_FIRST_MAXIMUM = int(Count.MAX_READY)  # an integer, because comparing with a member of an enum is slow


def merge(counts: dict[int, int], other: Counts) -> None:
    """Add the counts of another cell to `counts`."""
    for name, amount in other.items():
        if name < _FIRST_MAXIMUM:
            counts[name] = counts.get(name, 0) + amount
        elif amount > counts.get(name, 0):
            counts[name] = amount


def merged(cells: Iterable[Counts]) -> dict[int, int]:
    """Return the counts of several cells together."""
    counts: dict[int, int] = {}
    for each in cells:
        merge(counts, each)
    return counts
