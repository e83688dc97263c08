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
            self._events(attempt, append.entries)

    def ended(self, attempt: Attempt, result: AttemptResult) -> None:
        """Report the end of an attempt that the store has accepted, and the end of its job, if the job has ended.

        The job of an attempt that was dispatched to this worker as a message ends elsewhere.
        """
        if not self._telemetry.listeners:
            return
        self._events(attempt, result.entries)
        cause = Cause.REMOTE if attempt.dispatched else Cause.WORKER
        report_attempt_end(self._telemetry, attempt.record, result, cause, seconds=attempt.seconds)
        if attempt.dispatched:
            return
        state = ENDS.get(type(result.outcome))
        if state is not None:
            report_job_end(self._telemetry, attempt.record.spec, state, cause)
            return
        reading = asyncio.create_task(
            report_end_by_store(self._telemetry, self._client.store, attempt.record.spec, result.lease, cause)
        )
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)

    async def close(self) -> None:
        """Wait until all ends are reported."""
        if self._reading:
            await asyncio.wait(self._reading)

    def _events(self, attempt: Attempt, entries: Sequence[NewEvent]) -> None:
        own = [entry for entry in entries if entry.name != ATTEMPT]
        if not own:
            return
        fields = {**job_fields(attempt.record.spec), "attempt": attempt.lease.attempt}
        if not attempt.has_events:
            attempt.has_events = True
            self._telemetry.report(FirstEvent(**fields, seconds=attempt.seconds))
        self._telemetry.report(
            EventsWritten(**fields, count=len(own), bytes=sum(len(entry.data.encode()) for entry in own))
        )


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


def report_job_end(telemetry: Telemetry, spec: JobSpec, state: State, cause: Cause) -> None:
    """Report the end of a job."""
    cause = Cause.CANCEL if state is State.CANCELLED else cause
    telemetry.report(JobEnded(**job_fields(spec), state=state, cause=cause))


async def report_end_by_store(telemetry: Telemetry, store: Store, spec: JobSpec, lease: Lease, cause: Cause) -> None:
    """Report the end of a job that the store has ended with an attempt, whose outcome alone does not end it.

    A request to cancel has come before the outcome, or the job has lost too many workers.
    """
    with suppress(StoreError):
        (record,) = await store.get([spec.id])
        if not isinstance(record, JobRecord) or record.attempt != lease.attempt or not record.state.finished:
            return
        changes = load_transitions(record.transitions)
        if not changes or changes[-1].change not in RETURNED:
            report_job_end(telemetry, spec, record.state, cause)
