"""Arrivals: how many jobs per second came into each queue at the busiest time of a period, and how long they ran."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sidelane.admin.figures import History, Period
from sidelane.model.history import TEN_MINUTES, Count, HistoryCell, histogram, merged
from sidelane.model.queue import INTERNAL_PREFIX

MIN_JOBS = 30
"""Attempts that must have ended, so that their mean run time says something."""

MIN_RUN_TIME = 0.001
"""Seconds that a run counts at least, because the history has whole milliseconds."""

FASTEST = 0.05
"""Share of the attempts that are taken for those that did not wait for the CPU."""

ARRIVED = (Count.SUBMITTED, Count.REQUEUED, Count.RETRIED, Count.REFUSED_QUEUE_FULL)
"""What wants a slot: new jobs, those that run again, and those that a full queue refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueArrivals:
    """The jobs of one queue in a period. `rate` is that of the busiest window, which began `at` and was `seconds` long.

    `run_time` is the mean of this window if enough attempts ended in it, else that of the period. `fastest` is the run time that
    5 % of the attempts of each task do not exceed, as a mean of its tasks. `limit_wait` is in seconds.
    """

    queue: str
    ended: int
    rate: float
    run_time: float
    fastest: float
    at: float
    seconds: float
    limit_wait: float

    @property
    def enough(self) -> bool:
        """Whether there are enough jobs to size by."""
        return self.ended >= MIN_JOBS and self.rate > 0


def queue_arrivals(history: History, running: tuple[float, float]) -> list[QueueArrivals]:
    """Return the arrivals of each queue of the user's. `running` is since when and until when processes are known to have run.

    In the first and the last window, only the time counts in which they ran.
    """
    by_queue: dict[str, list[HistoryCell]] = defaultdict(list)
    for cell in history.cells:
        if cell.series.queue and not cell.series.queue.startswith(INTERNAL_PREFIX):
            by_queue[cell.series.queue].append(cell)
    return [_arrivals(name, by_queue[name], history.period, running) for name in sorted(by_queue)]


def _arrivals(queue: str, cells: Sequence[HistoryCell], period: Period, running: tuple[float, float]) -> QueueArrivals:
    length = max(period.step, TEN_MINUTES)
    windows: dict[float, list[HistoryCell]] = defaultdict(list)
    for cell in cells:
        windows[cell.at // length * length].append(cell)
    seconds = {at: _covered(at, min(at + length, period.until), running) for at in windows}
    whole = [at for at in windows if seconds[at] >= max(seconds.values()) / 2]  # a short one says little
    rates = {at: _count(windows[at]) / seconds[at] for at in whole}
    busiest = max(rates, key=lambda at: rates[at])
    total = merged(cell.counts for cell in cells)
    runs, in_window = (histogram(counts, Count.RUN) for counts in (total, merged(c.counts for c in windows[busiest])))
    measured = in_window if in_window.count >= MIN_JOBS else runs
    run_time = measured.total / measured.count if measured.count else 0.0
    at = running[0] if busiest <= running[0] < busiest + length else busiest
    return QueueArrivals(
        queue=queue, ended=runs.count, rate=rates[busiest], at=at, seconds=seconds[busiest],
        run_time=max(run_time, MIN_RUN_TIME), fastest=_fastest(cells),
        limit_wait=total.get(Count.LIMIT_WAIT_MS, 0) / 1000,
    )  # fmt: skip


def _fastest(cells: Sequence[HistoryCell]) -> float:
    by_task: dict[str, list[HistoryCell]] = defaultdict(list)
    for cell in cells:
        by_task[cell.series.task].append(cell)
    runs = [histogram(merged(cell.counts for cell in own), Count.RUN) for own in by_task.values()]
    count = sum(each.count for each in runs)
    return sum((each.quantile(FASTEST) or 0.0) * each.count for each in runs) / count if count else 0.0


def _count(cells: Sequence[HistoryCell]) -> int:
    return sum(cell.counts.get(count, 0) for cell in cells for count in ARRIVED)


def _covered(since: float, until: float, running: tuple[float, float]) -> float:
    """Return the seconds of a window in which processes ran, at least one. What was before the first line is not known."""
    first, last = running
    begin = first if since <= first < until else since
    end = last if since <= last < until else until
    return max(1.0, end - begin)
