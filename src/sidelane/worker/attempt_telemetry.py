"""Telemetry of attempts: what workers, and those who complete external jobs, report about attempts and the ends of jobs."""

import time
from collections.abc import Sequence
from typing import Final

from sidelane.model.event import ATTEMPT, LOG, NewEvent
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
from sidelane.model.worker import Claimed
from sidelane.telemetry.events import (
    AttemptEnded,
    AttemptOutcome,
    AttemptStarted,
    Cause,
    EventsWritten,
    FirstEvent,
    JobEnded,
    Wait,
    job_fields,
)
from sidelane.telemetry.port import Telemetry
from sidelane.telemetry.spans import job_attributes
from sidelane.telemetry.tracer import NEW_TRACE, NO_SPAN, AttributeValue, Span, SpanKind
from sidelane.worker.attempt import Attempt

OUTCOMES: Final[dict[type[Outcome], AttemptOutcome]] = {
    Succeeded: AttemptOutcome.SUCCEEDED,
    Retried: AttemptOutcome.RETRIED,
    Failed: AttemptOutcome.FAILED,
    Cancelled: AttemptOutcome.CANCELLED,
    Released: AttemptOutcome.RELEASED,
    Lost: AttemptOutcome.LOST,
    Dispatched: AttemptOutcome.DISPATCHED,
}

MIN_REPORT_INTERVAL: Final = 0.25
"""Minimum seconds between two reports of the events of one attempt, except for the report at its end."""

QUEUED_AGAIN = frozenset({Change.RETRIED, Change.RELEASED, Change.LOST, Change.REQUEUED})
"""The changes after which a job waits anew."""

ENDS: Final[dict[type[Outcome], State]] = {Succeeded: State.SUCCEEDED, Failed: State.FAILED}
"""The state of a job whose attempt had this outcome. After any other, the store decides, and `ReportingStore` reports the end."""


class AttemptTelemetry:
    """Reports the attempts of one worker."""

    def __init__(self, telemetry: Telemetry, worker: str) -> None:
        self._telemetry = telemetry
        self._worker = worker

    def started(self, claimed: Claimed) -> Span:
        """Report that an attempt starts, and return its span."""
        if self._telemetry.wants(AttemptStarted):
            self._telemetry.report(
                AttemptStarted(
                    **job_fields(claimed.record.spec), attempt=claimed.lease.attempt, worker=self._worker,
                    wait=wait_of(claimed),
                )
            )  # fmt: skip
        tracer = self._telemetry.tracer
        if not tracer.active:
            return NO_SPAN
        spec = claimed.record.spec
        attributes = attempt_attributes(spec, claimed.lease)
        attributes["sidelane.worker"] = self._worker
        if claimed.waited is not None:
            attributes["sidelane.wait"] = claimed.waited
        return tracer.start(
            f"process {spec.queue}", kind=SpanKind.CONSUMER, parent=spec.trace or NEW_TRACE, attributes=attributes
        )

    def lost(self, *attempts: Attempt) -> None:
        """Record that the results of attempts do not count, or did not reach the store."""
        for attempt in attempts:
            self._report_written(attempt)
            attempt.span.set({"sidelane.outcome": AttemptOutcome.LOST})
            attempt.span.fail("The lease was lost.", "LeaseLost")
            attempt.span.end()

    def appended(self, attempt: Attempt, append: EventAppend) -> None:
        """Report events that are in the log. Those of a fast stream are reported together, because a report costs time."""
        if not self._telemetry.active:
            return
        self._count_events(attempt, append.entries)
        if time.monotonic() >= attempt.written.next_report:
            self._report_written(attempt)

    def ended(self, attempt: Attempt, result: AttemptResult, *, accepted: bool) -> None:
        """Report the end of an attempt if the store has accepted it, and the end of its job, if the attempt decides it.

        The job of an attempt that was dispatched to this worker as a message ends elsewhere.
        """
        if not accepted:
            self.lost(attempt)
            return
        if not isinstance(result.outcome, Dispatched):  # the attempt goes on elsewhere: `record_external_attempt`
            end_attempt_span(attempt.span, result.outcome)
        if not self._telemetry.active:
            return
        self._count_events(attempt, result.entries)
        self._report_written(attempt)
        if attempt.dispatched:
            _report_attempt_end(self._telemetry, attempt.record, result, Cause.REMOTE, attempt.seconds)
        else:
            report_accepted_end(self._telemetry, attempt.record, result, Cause.WORKER, seconds=attempt.seconds)

    def _count_events(self, attempt: Attempt, entries: Sequence[NewEvent]) -> None:
        """Count events that are in the log, and report the first one of the attempt."""
        written, own = attempt.written, _own_sizes(entries)
        if own and not written.any and self._telemetry.wants(FirstEvent):
            fields = job_fields(attempt.record.spec)
            self._telemetry.report(FirstEvent(**fields, attempt=attempt.lease.attempt, seconds=attempt.seconds))
        written.any = written.any or bool(own)
        written.count += len(own)
        written.bytes += sum(own)

    def _report_written(self, attempt: Attempt) -> None:
        """Report the events that were counted since the last report."""
        written = attempt.written
        if written.count and self._telemetry.wants(EventsWritten):
            fields = job_fields(attempt.record.spec)
            self._telemetry.report(
                EventsWritten(**fields, attempt=attempt.lease.attempt, count=written.count, bytes=written.bytes)
            )
        written.count = written.bytes = 0
        written.next_report = time.monotonic() + MIN_REPORT_INTERVAL


def attempt_attributes(spec: JobSpec, lease: Lease) -> dict[str, AttributeValue]:
    """Return the attributes that the spans of all attempts have."""
    attributes = job_attributes("process", spec)
    attributes["sidelane.attempt"] = lease.attempt
    return attributes


def end_attempt_span(span: Span, outcome: Outcome) -> None:
    """End the span of an attempt with its outcome."""
    delay = {"sidelane.delay": outcome.delay} if isinstance(outcome, Retried | Released) else {}
    span.set({"sidelane.outcome": OUTCOMES[type(outcome)], **delay})
    if isinstance(outcome, Failed | Retried | Lost):
        error = outcome.failure.error
        span.fail(error, error.partition(":")[0])
    span.end()


def record_external_attempt(
    telemetry: Telemetry, record: JobRecord, result: AttemptResult, cause: str | None = None
) -> None:
    """Record the span of an attempt that has ended elsewhere, since its dispatch.

    `cause` is the `traceparent` of what has ended it, e.g. of the attempt of a remote worker.
    """
    if telemetry.tracer.active:
        spec = record.spec
        span = telemetry.tracer.start(
            f"process {spec.queue}", kind=SpanKind.CONSUMER, parent=spec.trace or NEW_TRACE, links=[cause] if cause else [],
            attributes=attempt_attributes(spec, result.lease), started=record.started,
        )  # fmt: skip
        end_attempt_span(span, result.outcome)


def _is_own(entry: NewEvent) -> bool:
    """Return whether an event is the task's own output: neither the one that says which attempt follows, nor a log record."""
    return entry.name not in (ATTEMPT, LOG)


def _own_sizes(entries: Sequence[NewEvent]) -> list[int]:
    """Return the bytes of the data of each of the task's own events."""
    return [len(entry.data.encode()) for entry in entries if _is_own(entry)]


def wait_of(claimed: Claimed) -> Wait | None:
    """Return for what a job waited before its attempt, or None if the source does not tell."""
    if claimed.waited is None:
        return None
    held = {Change.BLOCKED: 0.0, Change.PAUSED: 0.0}  # seconds for which a limit, or a pause of its batch, held it back
    since, hold = claimed.record.submitted, None
    for each in load_transitions(claimed.record.transitions):
        if each.change in QUEUED_AGAIN:
            since, held = each.at, dict.fromkeys(held, 0.0)
        elif hold is not None:
            held[hold.change] += each.at - hold.at
        hold = each if each.change in held else None
    started = claimed.record.started or since
    if hold is not None:
        held[hold.change] += started - hold.at
    limit, pause = held[Change.BLOCKED], held[Change.PAUSED] + claimed.paused
    delayed = max(0.0, started - since - limit - pause - claimed.waited)
    return Wait(slot=claimed.waited, limit=limit, time=delayed, pause=pause)


def report_events(telemetry: Telemetry, spec: JobSpec, lease: Lease, entries: Sequence[NewEvent]) -> None:
    """Report the task's own events that were written."""
    if telemetry.wants(EventsWritten) and (sizes := _own_sizes(entries)):
        telemetry.report(EventsWritten(**job_fields(spec), attempt=lease.attempt, count=len(sizes), bytes=sum(sizes)))


def report_accepted_end(
    telemetry: Telemetry, record: JobRecord, result: AttemptResult, cause: Cause, *, seconds: float | None = None
) -> None:
    """Report the end of an attempt that the store has accepted, and the end of its job, if the attempt decides it.

    `seconds` is how long the attempt ran, if that is known.
    """
    _report_attempt_end(telemetry, record, result, cause, seconds)
    state = ENDS.get(type(result.outcome))
    if state is not None and telemetry.wants(JobEnded):
        telemetry.report(JobEnded(**job_fields(record.spec), state=state, cause=cause))


def _report_attempt_end(
    telemetry: Telemetry, record: JobRecord, result: AttemptResult, cause: Cause, seconds: float | None
) -> None:
    if not telemetry.wants(AttemptEnded):
        return
    outcome = result.outcome
    delay = outcome.delay if isinstance(outcome, Retried | Released) else 0.0
    telemetry.report(
        AttemptEnded(
            **job_fields(record.spec), attempt=result.lease.attempt, outcome=OUTCOMES[type(outcome)], cause=cause,
            seconds=seconds, delay=delay, usage=result.usage, throttled=result.throttled,
        )
    )  # fmt: skip
