"""Batches as operators see them: the newest, and the jobs of one."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sidelane.admin.jobs import with_histories
from sidelane.model.batch import BatchRecord
from sidelane.model.job import JobRecord, Query, State
from sidelane.stores.contract import Store

MAX_SEARCHED: Final = 1000
"""The newest jobs of the store whose batches are listed. A store has no list of batches."""

MAX_JOBS: Final = 50
"""The newest jobs and the newest failed jobs of a batch that are listed."""

MAX_JOBS_SEARCHED: Final = 10_000
"""The newest jobs of a batch among which the failed ones are searched."""


@dataclass(frozen=True, slots=True)
class BatchJobs:
    """Some jobs of a batch, the newest first. Failed ones have their histories."""

    failed: Sequence[JobRecord]
    newest: Sequence[JobRecord]


async def newest_batches(store: Store) -> list[BatchRecord]:
    """Return the batches of the newest jobs, the newest first."""
    found = await store.search_jobs(Query(limit=MAX_SEARCHED), scan=MAX_SEARCHED)
    ids = dict.fromkeys(record.spec.batch for record in found.records if record.spec.batch is not None)
    batches = await asyncio.gather(*map(store.get_batch, ids))
    return sorted((batch for batch in batches if batch is not None), key=lambda batch: -batch.submitted)


async def jobs_of_batch(store: Store, batch_id: str) -> BatchJobs:
    """Return the newest jobs of a batch, and the newest of those that failed."""
    newest = await store.search_jobs(Query(batch=batch_id, limit=MAX_JOBS), scan=MAX_JOBS)
    failed = await store.search_jobs(
        Query(batch=batch_id, states=frozenset({State.FAILED}), limit=MAX_JOBS), scan=MAX_JOBS_SEARCHED
    )
    return BatchJobs(await with_histories(store, failed.records), newest.records)
