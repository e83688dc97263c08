"""Search of jobs with bounded work: a page looks at the newest jobs of an index, and tells where older ones continue."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import time
from typing import Final

from sidelane.admin.jobs import JobFilter, with_histories
from sidelane.model.job import JobRecord, Query
from sidelane.stores.contract import Store

MAX_SEARCHED: Final = 10_000
"""Jobs that one search looks at, at most."""

MAX_READ: Final = 2_000
CHUNK_SIZE: Final = 200
"""Jobs that are read from the store if it cannot apply the whole filter: at most, and in one call."""


@dataclass(frozen=True, slots=True)
class FoundJobs:
    """A page of jobs, newest first. `before` is the sequence from which older ones continue, or None after the last.

    `searched` is how many jobs were looked at. The page is `complete` unless that is the reason why it is not longer.
    """

    records: Sequence[JobRecord]
    searched: int
    before: int | None
    complete: bool


async def search_jobs(store: Store, selected: JobFilter, limit: int) -> FoundJobs:
    """Return the newest jobs that match, at most `limit`, with the histories of those that failed."""
    query = await _within_period(store, selected)
    size = 2 * limit if selected.views is None else CHUNK_SIZE  # some are internal, or not in the view
    found: list[JobRecord] = []
    searched, read, before = 0, 0, query.before
    while len(found) <= limit and searched < MAX_SEARCHED and read < MAX_READ:
        page = await store.search_jobs(replace(query, before=before, limit=size), scan=MAX_SEARCHED - searched)
        now = time()
        found += [record for record in page.records if selected.matches(record, now)]
        searched, read, before = searched + page.scanned, read + len(page.records), page.before
        if before is None:
            break
    if len(found) > limit:
        return FoundJobs(await with_histories(store, found[:limit]), searched, found[limit - 1].sequence, complete=True)
    return FoundJobs(await with_histories(store, found), searched, before, complete=before is None)


async def _within_period(store: Store, selected: JobFilter) -> Query:
    """Return the query with the sequences between which the jobs of its period are."""
    query = selected.query
    if selected.since is not None:
        query = replace(query, after=await _first_sequence(store, selected.since) - 1)
    if selected.until is not None:
        end = await _first_sequence(store, selected.until)
        query = replace(query, before=end if query.before is None else min(end, query.before))
    return query


async def _first_sequence(store: Store, at: float) -> int:
    """Return the sequence of the first job that was submitted at a time or later, or one that no job has reached yet."""
    low, high = 0, 1
    newest = await _newest(store, None)
    if newest is not None:
        high = newest.sequence + 1
    while low < high:  # jobs before `low` are older, and the one at `high` is not
        middle = (low + high + 1) // 2
        record = await _newest(store, middle)
        if record is None or record.submitted < at:
            low = middle
        else:
            high = record.sequence
    return high


async def _newest(store: Store, before: int | None) -> JobRecord | None:
    page = await store.search_jobs(Query(before=before, limit=1), scan=1)
    return page.records[0] if page.records else None
