"""Causes of failures: the dead letters of a task, grouped by what failed and on which release."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sidelane.admin.documents import Document, error_text, time_text
from sidelane.model.job import JobRecord, Query, State
from sidelane.model.transition import last_start
from sidelane.stores.contract import Store

MAX_ERROR: Final = 100
"""Characters of an error in a sentence."""

MAX_READ: Final = 100
"""The newest dead letters that are read with their errors."""

MAX_SCANNED: Final = 2000
"""The newest dead letters of all tasks among which they are searched."""

NUMBERS: Final = re.compile(r"[0-9a-f]{8,}|\d+")
"""What differs between errors of one cause: numbers and ids."""


@dataclass(frozen=True, slots=True)
class FailureCause:
    """Dead letters of one cause and release. `error` is that of the newest; `release` is empty for jobs that never started."""

    error: str
    release: str
    records: Sequence[JobRecord]

    @property
    def first(self) -> float:
        """When the first of them failed, in seconds since 1970."""
        return min(record.ended or 0.0 for record in self.records)

    @property
    def newest(self) -> JobRecord:
        return max(self.records, key=lambda record: record.ended or 0.0)


async def read_failure_causes(store: Store, task: str, since: float) -> list[FailureCause]:
    """Return why the newest jobs of a task failed since a time, the most frequent first. Raises `StoreError`."""
    query = Query(states=frozenset({State.FAILED}), task=task, limit=MAX_READ)
    page = await store.search_jobs(query, scan=MAX_SCANNED)
    ids = [record.id for record in page.records if (record.ended or 0.0) >= since]
    complete = await store.get(ids) if ids else []
    return failure_causes(record for record in complete if isinstance(record, JobRecord))


def failure_causes(failed: Iterable[JobRecord]) -> list[FailureCause]:
    """Return the causes of failed jobs, which have their histories, the most frequent first."""
    groups: dict[tuple[str, str, str], list[JobRecord]] = defaultdict(list)
    for record in failed:
        groups[record.spec.task, NUMBERS.sub("#", first_line(record)), release_of(record)].append(record)
    found = [FailureCause(first_line(records[0]), release, records) for (_, _, release), records in groups.items()]
    return sorted(found, key=lambda cause: -len(cause.records))


def cause_document(cause: FailureCause) -> Document:
    """Return a cause as JSON, with its newest job."""
    newest = cause.newest
    return {
        "jobs": len(cause.records), "task": newest.spec.task, "release": cause.release or None, "error": cause.error,
        "first": time_text(cause.first), "last": time_text(newest.ended), "newest": newest.id,
    }  # fmt: skip


def first_line(record: JobRecord) -> str:
    """Return the class and the first line of the error that a job failed with."""
    line = next(iter(error_text(record).splitlines()), "") or "no error is known"
    return line if len(line) <= MAX_ERROR else f"{line[: MAX_ERROR - 1]}…"


def release_of(record: JobRecord) -> str:
    """Return the release that ran a job last, or "" before its first start."""
    start = last_start(record)
    return "" if start is None else start.release
