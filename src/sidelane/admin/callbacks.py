"""Callbacks of all jobs as operators see them: the newest, and the receivers that callbacks do not reach."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sidelane.admin.documents import Document, error_text, time_text
from sidelane.admin.jobs import with_histories
from sidelane.callbacks.status import CallbackRecord, callback_record
from sidelane.model.job import JobRecord, Query, State
from sidelane.stores.contract import Store
from sidelane.tasks.internal_queues import CALLBACK_TASK

MAX_SEARCHED: Final = 2000
"""The newest jobs, of the store or of one receiver, among which callbacks are searched."""

MAX_FAILED: Final = 200
"""The newest callbacks that failed, and the newest that try again, by which receivers are judged."""


@dataclass(frozen=True, slots=True)
class Callback:
    """A callback, with its receiver (a host, a queue or a topic) and the id of the job that it reports."""

    receiver: str
    job: str
    record: CallbackRecord


@dataclass(frozen=True, slots=True)
class CallbackPage:
    """The newest callbacks. `before` is the sequence from which older ones continue, or None after the last."""

    callbacks: Sequence[Callback]
    before: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingReceiver:
    """A receiver with callbacks that failed for good or try again. `error` is that of the newest; `since` is the first."""

    receiver: str
    failed: int
    retrying: int
    error: str
    since: float


def receiver_document(failing: FailingReceiver) -> Document:
    """Return a failing receiver as JSON."""
    return {
        "receiver": failing.receiver, "failed": failing.failed, "retrying": failing.retrying, "since": time_text(failing.since),
        "error": failing.error,
    }  # fmt: skip


async def newest_callbacks(store: Store, limit: int, *, receiver: str | None, before: int | None) -> CallbackPage:
    """Return the newest callbacks, or the newest of one receiver, at most `limit`."""
    query = Query(task=CALLBACK_TASK, user=receiver, before=before, limit=limit)
    page = await store.search_jobs(query, scan=MAX_SEARCHED)
    records = await with_histories(store, page.records)
    return CallbackPage([_callback(record) for record in records], page.before)


async def failing_receivers(store: Store) -> list[FailingReceiver]:
    """Return the receivers of callbacks that failed or try again, those with the most first."""
    found: list[JobRecord] = []
    for state in (State.FAILED, State.QUEUED):
        query = Query(task=CALLBACK_TASK, states=frozenset({state}), limit=MAX_FAILED)
        page = await store.search_jobs(query, scan=MAX_SEARCHED)
        found += [record for record in page.records if record.state is State.FAILED or record.failures]
    by_receiver: dict[str, list[JobRecord]] = defaultdict(list)
    for record in await with_histories(store, found):
        by_receiver[record.spec.user or ""].append(record)
    return sorted(
        (_failing(receiver, records) for receiver, records in by_receiver.items()),
        key=lambda each: -each.failed - each.retrying,
    )


def _failing(receiver: str, records: Sequence[JobRecord]) -> FailingReceiver:
    newest = max(records, key=lambda record: record.sequence)
    return FailingReceiver(
        receiver=receiver,
        failed=sum(record.state is State.FAILED for record in records),
        retrying=sum(record.state is State.QUEUED for record in records),
        error=error_text(newest),
        since=min(record.submitted for record in records),
    )


def _callback(record: JobRecord) -> Callback:
    return Callback(record.spec.user or "", record.spec.parent or "", callback_record(record))
