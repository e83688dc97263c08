"""Limits as operators see them: how full each is, and which jobs use it and wait for it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sidelane.client.declarations import DECLARATIONS, load_declarations
from sidelane.model.job import JobRecord, Query, State
from sidelane.model.limit import Limit
from sidelane.model.worker import LimitStats
from sidelane.stores.contract import Store

MAX_SEARCHED: Final = 2000
"""The newest jobs among which those of a limit are searched."""

MAX_READ: Final = 500
"""Of these, the jobs that are read."""


@dataclass(frozen=True, slots=True)
class LimitJobs:
    """Jobs of one limit, the newest first: those that use it while they run, and those that wait for it.

    `declared` is the limit as one of these jobs has it, if there is one.
    """

    running: Sequence[JobRecord]
    waiting: Sequence[JobRecord]
    declared: Limit | None


def fullest_first(limits: Iterable[LimitStats]) -> list[LimitStats]:
    """Return limits in the order in which operators look at them."""
    return sorted(limits, key=lambda each: (-each.used / each.max if each.max else 0.0, -each.waiting, each.id))


async def jobs_of_limit(store: Store, limit: str) -> LimitJobs:
    """Return jobs of the limit with this id, as far as they are among the newest running and queued jobs of the store.

    Those of a limit that counts by user are searched among the user's jobs.
    """
    name, _, key = limit.partition("/")
    (declarations,) = await store.read_values([DECLARATIONS])
    user = key if key and load_declarations(declarations).counts_by_user(name) else None
    running = await store.search_jobs(Query(states=frozenset({State.RUNNING}), limit=MAX_READ), scan=MAX_SEARCHED)
    queued = await store.search_jobs(
        Query(states=frozenset({State.QUEUED}), user=user, limit=MAX_READ), scan=MAX_SEARCHED
    )
    using = [record for record in running.records if _declared(record, limit) is not None]
    waiting = [record for record in queued.records if record.waiting_for_limit == limit]
    return LimitJobs(using, waiting, next((_declared(record, limit) for record in (*using, *waiting)), None))


def _declared(record: JobRecord, limit: str) -> Limit | None:
    return next((each for each in record.spec.limits if each.id == limit), None)
