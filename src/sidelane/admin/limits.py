"""Limits as operators see them: how full each is, and which jobs use it and wait for it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sidelane.model.job import JobRecord, Query, State
from sidelane.model.limit import Limit
from sidelane.model.worker import LimitStats
from sidelane.stores.contract import Store

MAX_SEARCHED: Final = 2000
"""The newest running jobs among which those of a limit are searched."""

MAX_READ: Final = 500
"""Of these, the jobs that are read."""


@dataclass(frozen=True, slots=True)
class LimitJobs:
    """Jobs of one limit: those that use it while they run, the newest first, and a page of those that wait for it.

    Those that wait are in the order in which they start. `next` is where the next page begins, or None after the last.
    `declared` is the limit as one of these jobs has it, if there is one.
    """

    running: Sequence[JobRecord]
    waiting: Sequence[JobRecord]
    next: tuple[int, int] | None
    declared: Limit | None


def fullest_first(limits: Iterable[LimitStats]) -> list[LimitStats]:
    """Return limits in the order in which operators look at them."""
    return sorted(limits, key=lambda each: (-each.used / each.max if each.max else 0.0, -each.waiting, each.id))


async def jobs_of_limit(store: Store, limit_id: str, *, after: tuple[int, int] | None = None, count: int) -> LimitJobs:
    """Return jobs of a limit. `count` of those that wait are on the page after this priority and sequence.

    Those that use it are found as far as they are among the newest running jobs of the store.
    """
    running = await store.search_jobs(Query(states=frozenset({State.RUNNING}), limit=MAX_READ), scan=MAX_SEARCHED)
    using = [record for record in running.records if _declared(record, limit_id) is not None]
    waiting = await store.waiting_jobs(limit_id, after=after, limit=count + 1)
    page = waiting[:count]
    declared = next((_declared(record, limit_id) for record in (*using, *waiting)), None)
    return LimitJobs(using, page, position_of(page[-1]) if len(waiting) > count else None, declared)


def position_of(record: JobRecord) -> tuple[int, int]:
    """Return the place of a job among those that wait for a limit: its priority and sequence."""
    return record.spec.priority, record.sequence


def _declared(record: JobRecord, limit_id: str) -> Limit | None:
    return next((each for each in record.spec.limits if each.id == limit_id), None)
