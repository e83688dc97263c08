"""Figures of queues, tasks and releases over a period: rates, waits, run times, failures, tokens and cost, from the history."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sidelane.model.codec import rfc3339
from sidelane.model.history import (
    HOUR,
    MINUTE,
    OTHER,
    STEPS,
    TEN_MINUTES,
    Count,
    Counts,
    HistoryCell,
    HistoryQuery,
    Series,
    histogram,
    merge,
    merged,
)
from sidelane.model.queue import INTERNAL_PREFIX
from sidelane.stores.contract import Store

LONGEST = STEPS[HOUR]
"""Seconds of the longest period that history has."""

_MAX_SECONDS = {MINUTE: 3 * HOUR, TEN_MINUTES: 36 * HOUR, HOUR: math.inf}
"""Seconds of the longest period that is shown in points of each step, so that a chart of 36 hours has 217 points."""


@dataclass(frozen=True, slots=True)
class Period:
    """A period of history in points of `step` seconds. The first begins at `since`; the last may not be over at `until`."""

    since: float
    until: float
    step: int

    @classmethod
    def last(cls, seconds: float, now: float) -> "Period":
        """Return the period of the last `seconds`, which begins with a whole point."""
        step = next(step for step, longest in _MAX_SECONDS.items() if seconds <= longest)
        return cls((now - seconds) // step * step, now, step)

    @property
    def seconds(self) -> float:
        return self.until - self.since

    @property
    def times(self) -> list[float]:
        """The times at which the points begin."""
        return [self.since + number * self.step for number in range(math.ceil(self.seconds / self.step))]


@dataclass(frozen=True, slots=True)
class Quantiles:
    """The durations in seconds that a half, 95 % and 99 % of all do not exceed, estimated from buckets, and their number."""

    p50: float
    p95: float
    p99: float
    count: int

    def document(self) -> dict[str, float]:
        """Return a JSON document."""
        return {"p50": self.p50, "p95": self.p95, "p99": self.p99, "count": self.count}


@dataclass(frozen=True, slots=True)
class Figures:
    """What happened within a number of seconds. The counts have the fields of `Count`."""

    counts: Counts
    seconds: float

    def count(self, *counts: Count) -> int:
        """Return one count, or the sum of several."""
        return sum(self.counts.get(count, 0) for count in counts)

    def rate(self, *counts: Count) -> float:
        """Return how often per second it happened on average."""
        return self.count(*counts) / self.seconds if self.seconds > 0 else 0.0

    @property
    def started(self) -> int:
        return self.count(Count.STARTED)

    @property
    def failed(self) -> int:
        return self.count(Count.FAILED)

    @property
    def retried(self) -> int:
        return self.count(Count.RETRIED)

    @property
    def lost(self) -> int:
        return self.count(Count.LOST)

    @property
    def ended(self) -> int:
        return self.count(Count.SUCCEEDED, Count.FAILED, Count.CANCELLED)

    @property
    def refused(self) -> int:
        return self.count(Count.REFUSED_QUEUE_FULL, Count.REFUSED_LIMIT, Count.REFUSED_OTHER)

    @property
    def failed_share(self) -> float | None:
        """The share of failed jobs among those that have ended, or None without one."""
        return self.count(Count.FAILED) / self.ended if self.ended else None

    @property
    def wait(self) -> Quantiles | None:
        return _quantiles(self.counts, Count.WAIT)

    @property
    def run(self) -> Quantiles | None:
        return _quantiles(self.counts, Count.RUN)

    @property
    def first_event(self) -> Quantiles | None:
        return _quantiles(self.counts, Count.FIRST_EVENT)

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens that a task writes per second of streaming, on average, or None if no task reports tokens."""
        tokens, streamed = self.count(Count.OUTPUT_TOKENS), self.count(Count.STREAM_MS)
        return tokens / streamed * 1000 if tokens and streamed else None

    @property
    def cost(self) -> float:
        return self.count(Count.COST_MICROS) / 1e6

    def document(self) -> dict[str, Any]:
        """Return a JSON document. Durations are seconds, rates are per second."""
        found = {"wait": self.wait, "run": self.run, "first_event": self.first_event}
        return {
            "submitted": self.count(Count.SUBMITTED),
            "refused": {
                "queue_full": self.count(Count.REFUSED_QUEUE_FULL),
                "limit": self.count(Count.REFUSED_LIMIT),
                "other": self.count(Count.REFUSED_OTHER),
            },
            "requeued": self.count(Count.REQUEUED),
            "started": self.count(Count.STARTED),
            "start_rate": self.rate(Count.STARTED),
            "succeeded": self.count(Count.SUCCEEDED),
            "failed": self.count(Count.FAILED),
            "cancelled": self.count(Count.CANCELLED),
            "expired": self.count(Count.EXPIRED),
            "retried": self.count(Count.RETRIED),
            "released": self.count(Count.RELEASED),
            "throttled": self.count(Count.THROTTLED),
            "lost": self.count(Count.LOST),
            **{name: None if quantiles is None else quantiles.document() for name, quantiles in found.items()},
            "limit_wait": self.count(Count.LIMIT_WAIT_MS) / 1000,
            "pause_wait": self.count(Count.PAUSE_WAIT_MS) / 1000,
            "input_tokens": self.count(Count.INPUT_TOKENS),
            "output_tokens": self.count(Count.OUTPUT_TOKENS),
            "tokens_per_second": self.tokens_per_second,
            "cost": self.cost,
        }


class Chart:
    """The cells of one queue or task within a period: its counts by point, and its figures, of all releases and of each."""

    def __init__(self, period: Period, cells: Sequence[HistoryCell]) -> None:
        self.period = period
        self._cells = cells

    @cached_property
    def _points(self) -> list[dict[int, int]]:
        """The counts of each point."""
        points: list[dict[int, int]] = [{} for _ in self.period.times]
        for cell in self._cells:
            point = int((cell.at - self.period.since) // self.period.step)
            merge(points[min(max(0, point), len(points) - 1)], cell.counts)
        return points

    def values(self, *counts: Count) -> list[int]:
        """Return for each point one count, or the sum of several."""
        return [sum(point.get(count, 0) for count in counts) for point in self._points]

    def durations(self, first: Count, q: float) -> list[float | None]:
        """Return for each point the duration in seconds that a share `q` does not exceed, of `WAIT`, `RUN` or `FIRST_EVENT`."""
        return [histogram(point, first).quantile(q) for point in self._points]

    def between(self, since: float, until: float) -> Figures:
        """Return the figures of the points that begin within a range."""
        found = [(at, point) for at, point in zip(self.period.times, self._points, strict=True) if since <= at < until]
        seconds = min(until, self.period.until) - found[0][0] if found else 0.0
        return Figures(merged(point for _, point in found), seconds)

    @property
    def started(self) -> list[int]:
        """Attempts that started, for each point."""
        return self.values(Count.STARTED)

    @cached_property
    def releases(self) -> dict[str, Figures]:
        """The figures of each release, oldest first. "" has what happened to jobs before their first start."""
        found: dict[str, dict[int, int]] = {}
        for cell in self._cells:
            merge(found.setdefault(cell.series.release, {}), cell.counts)
        return {release: Figures(counts, self.period.seconds) for release, counts in found.items()}

    @cached_property
    def figures(self) -> Figures:
        """The figures of the whole period."""
        return Figures(merged(self._points), self.period.seconds)


@dataclass(frozen=True, slots=True)
class ReleaseMark:
    """The begin of the first point of a period in which a release ran an attempt."""

    at: float
    release: str


@dataclass(frozen=True)
class History:
    """The cells of a period. Charts are computed once, because many pages show the same history."""

    period: Period
    cells: Sequence[HistoryCell]

    @cached_property
    def all_queues(self) -> Chart:
        """The chart of all queues together, without internal ones."""
        cells = [cell for cell in self.cells if not cell.series.queue.startswith(INTERNAL_PREFIX)]
        return Chart(self.period, cells)

    def by_queue(self) -> dict[str, Chart]:
        """Return the chart of each queue, by its name. What is counted as `OTHER` is the last."""
        return self._queues

    def by_task(self, known: Iterable[str] = ()) -> dict[str, Chart]:
        """Return the chart of each task, by its name, and an empty one of each `known` task that has not been counted."""
        found = {name: Chart(self.period, []) for name in known} | self._tasks
        return {name: found[name] for name in sorted(found, key=_other_last)}

    @cached_property
    def _queues(self) -> dict[str, Chart]:
        return self._charts(lambda series: series.queue or series.task)

    @cached_property
    def _tasks(self) -> dict[str, Chart]:
        return self._charts(lambda series: series.task)

    def release_marks(self) -> list[ReleaseMark]:
        """Return when each release was first seen, by time. A release that ran at the begin of the period has no mark."""
        first: dict[str, float] = {}
        for cell in self.cells:
            release = cell.series.release
            if release and cell.counts.get(Count.STARTED):
                first[release] = min(cell.at, first.get(release, math.inf))
        marks = [ReleaseMark(at, release) for release, at in first.items() if at > self.period.since]
        return sorted(marks, key=lambda mark: (mark.at, mark.release))

    def _charts(self, name: Callable[[Series], str]) -> dict[str, Chart]:
        found: dict[str, list[HistoryCell]] = {}
        for cell in self.cells:
            found.setdefault(name(cell.series), []).append(cell)
        found.pop("", None)  # of a queue, without a task
        return {key: Chart(self.period, found[key]) for key in sorted(found, key=_other_last)}


async def read_history(store: Store, seconds: float, *, queue: str | None = None, task: str | None = None) -> History:
    """Return the history of the last `seconds` by the store's clock, of everything or of one queue or task."""
    period = Period.last(min(seconds, LONGEST), (await store.list_schedules()).now)
    query = HistoryQuery(since=period.since, until=period.until, step=period.step, queue=queue, task=task)
    return History(period, await store.history(query))


def cost_text(cost: float) -> str:
    """Return a cost in the currency of the tasks that report it, e.g. "12.50" or "0.0042"."""
    return f"{cost:,.2f}" if cost >= 1 else f"{cost:.4f}"


def history_document(history: History, kind: str, charts: Mapping[str, Chart]) -> dict[str, Any]:
    """Return a JSON document of charts by name. `kind` is the member that has them, "queues" or "tasks"."""
    period = history.period
    return {
        "since": rfc3339(period.since),
        "until": rfc3339(period.until),
        "step": period.step,
        kind: [{"name": name, **_chart_document(chart)} for name, chart in charts.items()],
        "releases": [{"release": mark.release, "at": rfc3339(mark.at)} for mark in history.release_marks()],
    }


def _chart_document(chart: Chart) -> dict[str, Any]:
    columns = {
        "started": chart.values(Count.STARTED),
        "ended": chart.values(Count.SUCCEEDED, Count.FAILED, Count.CANCELLED),
        "failed": chart.values(Count.FAILED),
        "ready": chart.values(Count.MAX_READY),
    }
    times = [rfc3339(at) for at in chart.period.times]
    return {
        **chart.figures.document(),
        "releases": [
            {"release": release, **figures.document()} for release, figures in chart.releases.items() if release
        ],
        "points": [
            {"at": at, **dict(zip(columns, values, strict=True))}
            for at, *values in zip(times, *columns.values(), strict=True)
        ],
    }


def _other_last(name: str) -> tuple[bool, str]:
    return name == OTHER, name


def _quantiles(counts: Counts, first: Count) -> Quantiles | None:
    found = histogram(counts, first)
    p50, p95, p99 = (found.quantile(q) for q in (0.5, 0.95, 0.99))
    return None if p50 is None or p95 is None or p99 is None else Quantiles(p50, p95, p99, found.count)
