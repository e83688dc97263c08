"""Telemetry of attempts: what workers, and those who complete external jobs, report about attempts and the ends of jobs."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from sidelane.model.errors import StoreError
from sidelane.model.event import ATTEMPT, NewEvent
from sidelane.model.job import JobRecord, JobSpec, Lease, State
from sidelane.model.outcome import (
    AttemptResult,
    Cancelled,
    Dispatched,
    EventAppend,
    Failed,
    Lost,
    Outcome,
    Released,
    Retried,
    Succeeded,
)
from sidelane.model.transition import Change, load_transitions
from sidelane.stores.contract import Store
from sidelane.telemetry.events import (
    AttemptEnded,
    AttemptOutcome,
    AttemptStarted,
    Cause,
    EventsWritten,
    FirstEvent,
    JobEnded,
    job_fields,
)
from sidelane.telemetry.port import Telemetry
from sidelane.worker.attempt import Attempt
from sidelane.worker.task_channel import TaskClient

OUTCOMES: Final[dict[type[Outcome], AttemptOutcome]] = {
    Succeeded: AttemptOutcome.SUCCEEDED,
    Retried: AttemptOutcome.RETRIED,
    Failed: AttemptOutcome.FAILED,
    Cancelled: AttemptOutcome.CANCELLED,
    Released: AttemptOutcome.RELEASED,
    Lost: AttemptOutcome.LOST,
    Dispatched: AttemptOutcome.DISPATCHED,
}

ENDS: Final[dict[type[Outcome], State]] = {
    Succeeded: State.SUCCEEDED,
    Failed: State.FAILED,
    Cancelled: State.CANCELLED,
}
"""The state of a job whose attempt had this outcome. After any other outcome, the store decides whether the job ends."""

RETURNED = frozenset({Change.RETRIED, Change.RELEASED, Change.LOST, Change.DISPATCHED})
"""The last change of a job that did not end with its attempt."""


class AttemptTelemetry:
    """Reports the attempts of one worker."""

    def __init__(self, client: TaskClient, worker: str) -> None:
        self._client = client
        self._telemetry = client.telemetry
        self._worker = worker
        self._reading = set[asyncio.Task[None]]()

    def started(self, attempt: Attempt) -> None:
        """Report that an attempt starts."""
        if self._telemetry.listeners:
            self._telemetry.report(
                AttemptStarted(**job_fields(attempt.record.spec), attempt=attempt.lease.attempt, worker=self._worker)
            )

    def appended(self, attempt: Attempt, append: EventAppend) -> None:
        """Report events that are in the log."""
        if self._telemetry.listeners:
            self._report_events(attempt, append.entries)

    def ended(self, attempt: Attempt, result: AttemptResult) -> None:
        """Report the end of an attempt that the store has accepted, and the end of its job, if the job has ended.

        The job of an attempt that was dispatched to this worker as a message ends elsewhere.
        """
        if not self._telemetry.listeners:
            return
        self._report_events(attempt, result.entries)
        cause = Cause.REMOTE if attempt.dispatched else Cause.WORKER
        report_attempt_end(self._telemetry, attempt.record, result, cause, seconds=attempt.seconds)
        if attempt.dispatched:
            return
        if type(result.outcome) in ENDS:
            report_job_end(self._telemetry, attempt.record, ENDS[type(result.outcome)], cause)
            return
        reading = asyncio.create_task(
            report_end_by_store(self._telemetry, self._client.store, attempt.record, result.lease, cause)
        )
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)

    async def close(self) -> None:
        """Wait until all ends are reported."""
        if self._reading:
            await asyncio.wait(self._reading)

    def _report_events(self, attempt: Attempt, entries: Sequence[NewEvent]) -> None:
        spec, lease = attempt.record.spec, attempt.lease
        if not attempt.has_events and any(entry.name != ATTEMPT for entry in entries):
            attempt.has_events = True
            self._telemetry.report(FirstEvent(**job_fields(spec), attempt=lease.attempt, seconds=attempt.seconds))
        report_events(self._telemetry, spec, lease, entries)


def report_events(telemetry: Telemetry, spec: JobSpec, lease: Lease, entries: Sequence[NewEvent]) -> None:
    """Report the events of an attempt that were written, without the event that says which attempt follows."""
    own = [entry for entry in entries if entry.name != ATTEMPT] if telemetry.listeners else []
    if own:
        size = sum(len(entry.data.encode()) for entry in own)
        telemetry.report(EventsWritten(**job_fields(spec), attempt=lease.attempt, count=len(own), bytes=size))


def report_attempt_end(
    telemetry: Telemetry, record: JobRecord, result: AttemptResult, cause: Cause, *, seconds: float | None = None
) -> None:
    """Report how an attempt ended. `seconds` is how long it ran, if that is known."""
    outcome = result.outcome
    delay = outcome.delay if isinstance(outcome, Retried | Released) else 0.0
    telemetry.report(
        AttemptEnded(
            **job_fields(record.spec), attempt=result.lease.attempt, outcome=OUTCOMES[type(outcome)], cause=cause,
            seconds=seconds, delay=delay, usage=result.usage, throttled=result.throttled,
        )
    )  # fmt: skip


def report_job_end(telemetry: Telemetry, record: JobRecord, state: State, cause: Cause) -> None:
    """Report the end of a job. A cancelled job was ended by the request to cancel it, whatever had it."""
    cause = Cause.CANCEL if state is State.CANCELLED else cause
    telemetry.report(JobEnded(**job_fields(record.spec), state=state, cause=cause))


async def report_end_by_store(
    telemetry: Telemetry, store: Store, record: JobRecord, lease: Lease, cause: Cause
) -> None:
    """Report the end of a job if the store has ended it with an attempt, although the attempt's outcome asked for another.

    A request to cancel has come before the outcome, or the job has lost too many workers.
    """
    with suppress(StoreError):
        (found,) = await store.get([record.id])
        if not isinstance(found, JobRecord) or found.attempt != lease.attempt or not found.state.finished:
            return
        changes = load_transitions(found.transitions)
        if not changes or changes[-1].change not in RETURNED:
            report_job_end(telemetry, found, found.state, cause)


async def report_external_end(telemetry: Telemetry, store: Store, record: JobRecord, result: AttemptResult) -> None:
    """Report the end of an attempt at an external worker, and the end of its job, if the job has ended."""
    if not telemetry.listeners:
        return
    report_attempt_end(telemetry, record, result, Cause.EXTERNAL)
    state = ENDS.get(type(result.outcome))
    if state is None:
        await report_end_by_store(telemetry, store, record, result.lease, Cause.EXTERNAL)
    else:
        report_job_end(telemetry, record, state, Cause.EXTERNAL)
