"""Reporting store: a store that reports its calls to telemetry, and what they did to jobs, while anything listens.

Attempts that succeed or fail are reported by those who ran them. Every other end of a job is the decision of the store, and is
reported here.
"""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from inspect import getmembers, iscoroutinefunction
from typing import Any, TypeVar, cast

from sidelane.model.errors import StoreError
from sidelane.model.job import JobRecord, JobSpec, Query, Rejection, State, Submission
from sidelane.model.outcome import AttemptResult, Failed, Succeeded
from sidelane.model.schedule import ScheduleTick
from sidelane.model.worker import ClaimRequest, Claims, SweepResult
from sidelane.stores.contract import Store
from sidelane.stores.problems import DEADLINE_PASSED, NOT_STARTED_IN_TIME
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
"""Jobs that a store cancels in the same step as their parent, or as the job that replaces them."""

MAX_REMEMBERED = 10_000
"""Ends that are remembered, so that each is reported once although several calls show it."""

_VERBS = frozenset(name for name, _ in getmembers(Store, iscoroutinefunction)) - {"close"}


def reporting(store: Store, telemetry: Telemetry) -> Store:
    """Return a store that reports to `telemetry`."""
    return cast(Store, ReportingStore(store, telemetry))


class ReportingStore:
    """Passes every call to a store. If nothing listens, a call costs no more than a look."""

    def __init__(self, store: Store, telemetry: Telemetry) -> None:
        self._store = store
        self._telemetry = telemetry
        self._reported = OrderedDict[tuple[str, int], None]()  # the newest ends, by job and number

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._store, name)
        return partial(self._timed, name, member) if name in _VERBS and self._telemetry.wants(StoreCalled) else member

    async def submit(self, specs: Sequence[JobSpec]) -> list[Submission | Rejection]:
        answers = await self._timed("submit", self._store.submit, specs)
        if self._telemetry.active:
            for spec, answer in zip(specs, answers, strict=True):
                await self._report_submit(spec, answer)
        return answers

    async def fire(self, tick: ScheduleTick) -> bool:
        fired = await self._timed("fire", self._store.fire, tick)
        if fired and self._telemetry.wants(JobSubmitted):
            for spec in tick.specs:
                self._telemetry.report(JobSubmitted(**job_fields(spec)))
        return fired

    async def claim(self, request: ClaimRequest) -> Claims:
        claims = await self._timed("claim", self._store.claim, request)
        if claims.expired and self._telemetry.wants(JobEnded):
            await self._report_ends(claims.expired, Cause.EXPIRY)
        return claims

    async def finish(self, reports: Sequence[AttemptResult]) -> list[bool]:
        answers = await self._timed("finish", self._store.finish, reports)
        if self._telemetry.wants(JobEnded):
            attempts = {
                report.lease.job_id: report.lease.attempt
                for report, accepted in zip(reports, answers, strict=True)
                if accepted and type(report.outcome) not in (Succeeded, Failed)
            }
            for record in await self._records(list(attempts)):
                if record.attempt == attempts[record.id] and record.last_worker is not None:
                    await self._report_end(record, Cause.WORKER)
        return answers

    async def cancel(self, ids: Sequence[str]) -> list[JobRecord | None]:
        if not self._telemetry.wants(JobEnded):
            return await self._timed("cancel", self._store.cancel, ids)
        before = {record.id: record for record in await self._records(ids)}
        records = await self._timed("cancel", self._store.cancel, ids)
        for record in records:
            if record is not None and _is_cancelled_at_once(before.get(record.id), record):
                await self._report_end(record, Cause.CANCEL)
        return records

    async def sweep(self, *, lease: float, limit: int = 200) -> SweepResult:
        swept = await self._timed("sweep", self._store.sweep, lease=lease, limit=limit)
        if swept.lost and self._telemetry.wants(WorkersLost):
            self._telemetry.report(WorkersLost(count=swept.lost))
        if swept.ended_jobs and self._telemetry.wants(JobEnded):
            await self._report_ends(swept.ended_jobs, Cause.SWEEP)
        return swept

    async def _timed(self, verb: str, call: Callable[..., Awaitable[R]], /, *arguments: Any, **named: Any) -> R:
        """Return what a call returns, and report how long it took."""
        if not self._telemetry.wants(StoreCalled):
            return await call(*arguments, **named)
        started, error = time.perf_counter(), ""
        try:
            return await call(*arguments, **named)
        except StoreError as failed:
            error = type(failed).__name__
            raise
        finally:
            self._telemetry.report(StoreCalled(verb=verb, seconds=time.perf_counter() - started, error=error))

    async def _report_submit(self, spec: JobSpec, answer: Submission | Rejection) -> None:
        """Report the answer to a submit, and the jobs that the new job replaces."""
        telemetry = self._telemetry
        if isinstance(answer, Rejection):
            if telemetry.wants(JobRefused):
                telemetry.report(JobRefused(**job_fields(spec), by=_refused_by(answer)))
        elif answer.created:
            if telemetry.wants(JobSubmitted):
                telemetry.report(JobSubmitted(**job_fields(spec)))
            if telemetry.wants(JobEnded) and any(limit.on_limit == "replace" for limit in spec.limits):
                await self._report_cancelled(Query(queue=spec.queue, user=spec.user), answer.record.submitted)

    async def _records(self, ids: Sequence[str]) -> list[JobRecord]:
        """Return the records of jobs, or none while the store is unavailable."""
        try:
            found = await self._store.get(ids) if ids else []
        except StoreError:
            return []
        return [record for record in found if isinstance(record, JobRecord)]

    async def _report_ends(self, ids: Sequence[str], cause: Cause) -> None:
        for record in await self._records(ids):
            await self._report_end(record, Cause.EXPIRY if record.problem in _EXPIRED else cause)

    async def _report_end(self, record: JobRecord, cause: Cause) -> None:
        """Report the end of a job, if it has ended, and of the children that were cancelled with it."""
        if not record.state.finished or (record.id, record.ends) in self._reported:
            return
        self._reported[record.id, record.ends] = None
        if len(self._reported) > MAX_REMEMBERED:
            self._reported.popitem(last=False)
        cancelled = record.state is State.CANCELLED
        cause = Cause.CANCEL if cancelled and cause is Cause.WORKER else cause
        self._telemetry.report(JobEnded(**job_fields(record.spec), state=record.state, cause=cause))
        if cancelled:
            await self._report_cancelled(Query(parent=record.id), record.ended)

    async def _report_cancelled(self, query: Query, at: float | None) -> None:
        """Report the jobs that the store cancelled in one step, by the time of that step."""
        query = replace(query, states=frozenset({State.CANCELLED}), limit=MAX_CHILDREN)
        try:
            found = await self._store.list_jobs(query)
        except StoreError:
            return
        for record in found:
            if record.ended == at:
                await self._report_end(record, Cause.CANCEL)


_EXPIRED = (NOT_STARTED_IN_TIME, DEADLINE_PASSED)


def _refused_by(rejection: Rejection) -> RefusedBy:
    if rejection.reached:
        return RefusedBy.LIMIT
    full = rejection.problem.status == HTTPStatus.SERVICE_UNAVAILABLE
    return RefusedBy.QUEUE_FULL if full else RefusedBy.OTHER


def _is_cancelled_at_once(before: JobRecord | None, after: JobRecord) -> bool:
    """Return whether a request to cancel has ended a job itself, because no worker had it."""
    if before is None or after.state is not State.CANCELLED:
        return False
    return before.state is State.QUEUED or before.external_lease is not None
