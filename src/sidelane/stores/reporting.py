"""Reporting store: a store that reports its calls to telemetry, and what they did to jobs, while anything listens."""

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from http import HTTPStatus
from inspect import getmembers, iscoroutinefunction
from typing import Any, TypeVar, cast

from sidelane.model.errors import StoreError
from sidelane.model.job import JobRecord, JobSpec, Query, Rejection, State, Submission
from sidelane.model.schedule import ScheduleTick
from sidelane.model.worker import SweepResult
from sidelane.stores.contract import Store
from sidelane.telemetry.events import (
    Cause,
    JobEnded,
    JobRefused,
    JobSubmitted,
    RefusedBy,
    StoreCalled,
    WorkersLost,
    job_fields,
)
from sidelane.telemetry.port import Telemetry

R = TypeVar("R")

MAX_CHILDREN = 200
"""Children of a cancelled job that its store cancels in the same step."""

_VERBS = frozenset(name for name, _ in getmembers(Store, iscoroutinefunction)) - {"close"}


def reporting(store: Store, telemetry: Telemetry) -> Store:
    """Return a store that reports to `telemetry`."""
    return cast(Store, ReportingStore(store, telemetry))


class ReportingStore:
    """Passes every call to a store. Without listeners, a call costs one look at them.

    The ends that workers and external workers report are not among its reports: it reports the jobs that a request to cancel ended.
    """

    def __init__(self, store: Store, telemetry: Telemetry) -> None:
        self._store = store
        self._telemetry = telemetry
        self._cancelling: set[str] = set()  # ids in calls that have not returned

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._store, name)
        return partial(self._timed, name, member) if name in _VERBS and self._telemetry.listeners else member

    async def submit(self, specs: Sequence[JobSpec]) -> list[Submission | Rejection]:
        if not self._telemetry.listeners:
            return await self._store.submit(specs)
        answers = await self._timed("submit", self._store.submit, specs)
        for spec, answer in zip(specs, answers, strict=True):
            if isinstance(answer, Rejection):
                self._telemetry.report(JobRefused(**job_fields(spec), by=_refused_by(answer)))
            elif answer.created:
                self._telemetry.report(JobSubmitted(**job_fields(spec)))
        return answers

    async def fire(self, tick: ScheduleTick) -> bool:
        if not self._telemetry.listeners:
            return await self._store.fire(tick)
        fired = await self._timed("fire", self._store.fire, tick)
        for spec in tick.specs if fired else ():
            self._telemetry.report(JobSubmitted(**job_fields(spec)))
        return fired

    async def sweep(self, *, lease: float, limit: int = 200) -> SweepResult:
        if not self._telemetry.listeners:
            return await self._store.sweep(lease=lease, limit=limit)
        swept = await self._timed("sweep", self._store.sweep, lease=lease, limit=limit)
        if swept.lost:
            self._telemetry.report(WorkersLost(count=swept.lost))
        return swept

    async def cancel(self, ids: Sequence[str]) -> list[JobRecord | None]:
        if not self._telemetry.listeners:
            return await self._store.cancel(ids)
        own = set(ids) - self._cancelling
        self._cancelling |= own
        try:
            before = dict(zip(ids, await self._store.get(ids), strict=True))
            records = await self._timed("cancel", self._store.cancel, ids)
            after = dict(zip(ids, records, strict=True))
            for job_id in own:
                record = after[job_id]
                if record is not None and _is_ended_by_cancel(before[job_id], record):
                    await self._report_cancelled(record)
        finally:
            self._cancelling -= own
        return records

    async def _report_cancelled(self, record: JobRecord) -> None:
        """Report that a job was cancelled, and those of its children that the same step has cancelled."""
        self._telemetry.report(JobEnded(**job_fields(record.spec), state=State.CANCELLED, cause=Cause.CANCEL))
        query = Query(parent=record.id, states=frozenset({State.CANCELLED}), limit=MAX_CHILDREN)
        for child in await self._store.list_jobs(query):
            if child.spec.cascade and child.ended == record.ended:
                await self._report_cancelled(child)

    async def _timed(self, verb: str, call: Callable[..., Awaitable[R]], /, *arguments: Any, **named: Any) -> R:
        started, error = time.perf_counter(), ""
        try:
            return await call(*arguments, **named)
        except StoreError as failed:
            error = type(failed).__name__
            raise
        finally:
            self._telemetry.report(StoreCalled(verb=verb, seconds=time.perf_counter() - started, error=error))


def _refused_by(rejection: Rejection) -> RefusedBy:
    if rejection.reached:
        return RefusedBy.LIMIT
    full = rejection.problem.status == HTTPStatus.SERVICE_UNAVAILABLE
    return RefusedBy.QUEUE_FULL if full else RefusedBy.OTHER


def _is_ended_by_cancel(before: object, record: JobRecord) -> bool:
    """Return whether a call of `cancel` has ended a job: it was queued, or at an external worker."""
    if record.state is not State.CANCELLED or not isinstance(before, JobRecord):
        return False
    return before.state is State.QUEUED or before.external_lease is not None
