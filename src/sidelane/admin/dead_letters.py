"""Dead letters: the jobs that failed for good, found by more than a store looks for."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from sidelane.admin.documents import problem_words
from sidelane.model.job import JobRecord, Query, State
from sidelane.stores.contract import Store

CHUNK_SIZE = 100
"""Jobs that are looked at, requeued or removed in one call."""

FAILED = frozenset({State.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFilter:
    """Which dead letters. Times are seconds since 1970; `error` is looked for in the problem and the last attempt's error."""

    task: str | None = None
    queue: str | None = None
    user: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    since: float | None = None
    until: float | None = None
    error: str | None = None

    def holds(self, record: JobRecord) -> bool:
        """Tell whether a failed job that the store found is one of these."""
        ended = record.ended or 0.0
        if (self.since is not None and ended < self.since) or (self.until is not None and ended >= self.until):
            return False
        return self.error is None or self.error.casefold() in _searched(record).casefold()


async def dead_letters(store: Store, wanted: DeadLetterFilter) -> AsyncIterator[list[JobRecord]]:
    """Yield them in pieces, the newest first, with their histories. What is done to one piece does not change the next."""
    before: int | None = None
    while True:
        query = Query(
            states=FAILED, task=wanted.task, queue=wanted.queue, user=wanted.user, labels=wanted.labels, before=before,
            limit=CHUNK_SIZE,
        )  # fmt: skip
        found = await store.list_jobs(query)
        if not found:
            return
        before = found[-1].sequence
        whole = await store.get([record.id for record in found])
        records = [each for each in whole if isinstance(each, JobRecord) and each.state is State.FAILED]
        if piece := [record for record in records if wanted.holds(record)]:
            yield piece


async def newest_of(store: Store, wanted: DeadLetterFilter, limit: int) -> list[JobRecord]:
    """Give the newest of them, at most so many."""
    records: list[JobRecord] = []
    async for piece in dead_letters(store, wanted):
        records += piece
        if len(records) >= limit:
            break
    return records[:limit]


async def count_of(store: Store, wanted: DeadLetterFilter) -> int:
    """Count them."""
    return sum([len(piece) async for piece in dead_letters(store, wanted)])


def error_words(record: JobRecord) -> str:
    """Say what a job failed of: its last attempt's own error, which operators may see, unless it ended of something else."""
    last = record.history[-1] if record.history else None
    if last is not None and last.error and (record.problem is None or last.problem == record.problem):
        return last.error
    return "" if record.problem is None else problem_words(record.problem.document())


def _searched(record: JobRecord) -> str:
    """Put together what is looked through for a text."""
    problem = "" if record.problem is None else problem_words(record.problem.document())
    return "\n".join([problem, *(failure.error for failure in record.history[-1:])])
