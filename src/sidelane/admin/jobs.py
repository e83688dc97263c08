"""Jobs as operators see them: lists, everything about one job, and the name of its state."""

import math
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from enum import StrEnum

from sidelane.admin.documents import (
    Document,
    callback_document,
    failure_document,
    follow_up_document,
    job_document,
    time_text,
    worker_document,
)
from sidelane.admin.job_notices import WorkerLookup, find_worker
from sidelane.admin.limits import changed_limits
from sidelane.admin.timeline import timeline_document, tokens_per_second
from sidelane.admin.why import Situation, explain, explanation_document
from sidelane.admin.workers import listeners_of
from sidelane.callbacks.status import CallbackRecord, callbacks_of
from sidelane.client.client import Client
from sidelane.client.event_stream import partial_text
from sidelane.model.job import UNFINISHED, FollowUp, JobRecord, JobSpec, Query, State
from sidelane.model.queue import INTERNAL_PREFIX
from sidelane.model.worker import QueuePosition
from sidelane.stores.contract import Store


class JobView(StrEnum):
    """A job's state as operators see it: one of the five states, or a more specific view of that state."""

    QUEUED = "queued"
    SCHEDULED = "scheduled"  # queued with a time before which it does not start
    RETRYING = "retrying"  # the same, after a failure
    WAITING_FOR_LIMIT = "waiting for limit"  # queued, but a limit is full
    PAUSED = "paused"  # queued, but its batch is paused
    RUNNING = "running"
    DISPATCHED = "dispatched"  # running on an external worker
    CANCELLING = "cancelling"  # running, asked to stop
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


STATES = {
    JobView.SCHEDULED: State.QUEUED,
    JobView.RETRYING: State.QUEUED,
    JobView.WAITING_FOR_LIMIT: State.QUEUED,
    JobView.PAUSED: State.QUEUED,
    JobView.DISPATCHED: State.RUNNING,
    JobView.CANCELLING: State.RUNNING,
}
"""The state of each view that is no state itself."""

PAGE_SIZE = 500
"""Jobs that are read in one store call if not all may match."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Selects jobs. `views` are the states or views to select (None: any); a state includes its views.

    Internal jobs (callbacks, dispatches, file cleanup) are left out unless `internal`, or the query names them by parent, task
    or queue. `since` and `until` are times between which a job was submitted, in seconds since 1970.
    """

    query: Query
    views: frozenset[JobView] | None = None
    internal: bool = False
    since: float | None = None
    until: float | None = None

    @classmethod
    def of(cls, query: Query, views: Iterable[JobView], *, internal: bool) -> "JobFilter":
        """Return a filter by a query, and by states or views, if any."""
        names = (query.task or "", query.queue or "")
        internal = internal or query.parent is not None or any(name.startswith(INTERNAL_PREFIX) for name in names)
        wanted = frozenset(views)
        if not wanted:
            return cls(query=query, internal=internal)
        states = frozenset(STATES.get(view) or State(view) for view in wanted)
        narrowed = wanted if wanted & STATES.keys() else None
        return cls(query=replace(query, states=states), views=narrowed, internal=internal)

    def unfinished(self) -> "JobFilter":
        """Return the same filter, for unfinished jobs alone."""
        states = UNFINISHED if self.query.states is None else UNFINISHED & self.query.states
        return replace(self, query=replace(self.query, states=states))

    def matches(self, record: JobRecord, now: float) -> bool:
        """Apply the part of the filter that a store cannot apply. `now` is in seconds since 1970."""
        if not self.internal and record.spec.queue.startswith(INTERNAL_PREFIX):
            return False
        if record.submitted < (self.since or 0.0) or record.submitted >= (self.until or math.inf):
            return False
        return self.views is None or JobView(record.state) in self.views or job_view(record, now) in self.views


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDetail:
    """Everything about one job. `partial` is the text that it has streamed so far, if it has no result."""

    situation: Situation
    partial: str
    callbacks: Sequence[CallbackRecord]
    listeners: int | None  # None: it has ended, or an API process cannot tell

    @property
    def record(self) -> JobRecord:
        return self.situation.record

    @property
    def lookup(self) -> WorkerLookup:
        return self.situation.lookup

    @property
    def position(self) -> QueuePosition | None:
        return self.situation.position

    def document(self) -> Document:
        """Return everything about the job as one JSON document."""
        record, lookup, position, sent = self.record, self.lookup, self.position, self.lookup.sent
        return {
            **job_document(record),
            "why": explanation_document(explain(self.situation, time.time())),
            "follow_ups": list(map(follow_up_document, record.spec.follow_ups)),
            "callbacks": list(map(callback_document, self.callbacks)),
            "placeholders": dict(record.spec.placeholders),
            "cascade": record.spec.cascade,
            "partial": self.partial or None,
            "position": position.before if position else None,
            "wait": position.wait if position else None,
            "has_worker": lookup.has_worker,
            "notice": str(lookup.notice) if lookup.notice else None,
            "running_on": worker_document(lookup.worker) if lookup.worker else None,
            "dispatched": {"to": sent.to, "until": time_text(sent.until)} if sent else None,
            "listeners": self.listeners,
            "retention": record.spec.retention,
            "history": [failure_document(failure) for failure in record.history],
            "tokens_per_second": tokens_per_second(record),
            **timeline_document(record, time.time()),
        }


def job_view(record: JobRecord, now: float) -> JobView:
    """Return the name of a job's state. `now` is in seconds since 1970."""
    if record.state is State.RUNNING and record.cancel_requested:
        return JobView.CANCELLING
    if record.external_lease is not None:
        return JobView.DISPATCHED
    if due_later(record, now) is not None:
        return JobView.RETRYING if record.failures else JobView.SCHEDULED
    if record.state is State.QUEUED and record.waiting_for_limit is not None:
        return JobView.WAITING_FOR_LIMIT
    if record.waiting_for_batch:
        return JobView.PAUSED
    return JobView(record.state)


def due_later(record: JobRecord, now: float) -> float | None:
    """Return the time before which a queued job does not start, or None if that time has passed."""
    waits = record.state is State.QUEUED and record.due is not None and record.due > now
    return record.due if waits else None


def users_follow_ups(spec: JobSpec) -> list[FollowUp]:
    """Return what follows a job, without Sidelane's internal jobs."""
    return [follow_up for follow_up in spec.follow_ups if not follow_up.spec.task.startswith(INTERNAL_PREFIX)]


async def list_jobs(store: Store, selected: JobFilter, limit: int) -> list[JobRecord]:
    """Return the newest matching jobs, at most `limit`. Jobs that failed have their histories."""
    records: list[JobRecord] = []
    async with aclosing(matching_jobs(store, selected, limit)) as pages:
        async for page in pages:
            records += page
            if len(records) >= limit:
                break
    return await with_histories(store, records[:limit])


async def matching_jobs(store: Store, selected: JobFilter, limit: int) -> AsyncGenerator[list[JobRecord], None]:
    """Yield matching jobs, newest first, in pages of at most `limit`, or of more if most do not match."""
    everything = (selected.views, selected.since, selected.until) == (None, None, None)
    size = limit if everything else max(limit, PAGE_SIZE)
    before: int | None = None
    while True:
        page = await store.list_jobs(replace(selected.query, before=before, limit=size))
        now = time.time()
        yield [record for record in page if selected.matches(record, now)]
        if len(page) < size:
            return
        before = page[-1].sequence


async def job_detail(client: Client, job_id: str) -> JobDetail:
    """Return everything about a job. Raises `UnknownJob` or `JobRemoved`."""
    situation = await situation_of(client, job_id)
    record, limit = situation.record, client.settings.payload_limit
    return JobDetail(
        situation=situation,
        partial=await partial_text(client.store, record.id, limit) if record.result is None else "",
        callbacks=await callbacks_of(client, job_id),
        listeners=None if record.state.finished else listeners_of(job_id, await client.store.workers()),
    )


async def situation_of(client: Client, job_id: str) -> Situation:
    """Return what explains a job. Raises `UnknownJob` or `JobRemoved`."""
    record, store = await client.record(job_id), client.store
    task = client.registry.tasks.get(record.spec.task)
    limited = record.spec.limits and not record.state.finished
    return Situation(
        record=record,
        lookup=await find_worker(record, store),
        position=await store.queue_position(job_id) if record.state is State.QUEUED else None,
        limits=await store.limits() if limited else (),
        changed=await changed_limits(store) if record.spec.limits else (),
        timeout=None if task is None else task.policy.timeout or client.settings.timeout,
    )


async def with_histories(store: Store, records: Sequence[JobRecord]) -> list[JobRecord]:
    """Return records of a list. Jobs that failed have their histories, which a list omits."""
    failed = [record.id for record in records if record.problem is not None or record.failures or record.worker_losses]
    found = await store.get(failed) if failed else []
    histories = {each.id: each.history for each in found if isinstance(each, JobRecord)}
    return [replace(record, history=histories.get(record.id, ())) for record in records]
