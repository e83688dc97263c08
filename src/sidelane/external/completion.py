"""Completions of external jobs: their tokens are checked, and results, problems and events are applied to the jobs."""

import asyncio
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from sidelane.client.client import Client
from sidelane.model.codec import check_size
from sidelane.model.errors import JobFailed, MalformedMessage, PayloadTooLarge, SidelaneError, UnknownTask
from sidelane.model.event import PROGRESS, TOKEN, NewEvent, named_event, progress_event, token_event
from sidelane.model.job import Failure, JobRecord, Lease, Query, State
from sidelane.model.outcome import AttemptResult, EventAppend, Outcome, Succeeded
from sidelane.model.problem import Problem
from sidelane.model.signing import is_signature, sign
from sidelane.services import Services
from sidelane.tasks.registry import AnyTask
from sidelane.telemetry.events import Cause
from sidelane.transports.job_messages import CompletionMessage, EmittedEvent
from sidelane.worker.attempt_telemetry import record_external_attempt, report_accepted_end, report_events
from sidelane.worker.outcome import WrongResult, add_job_context, classify_error, report_end, retry_or_fail

TOKEN_KEY = "completion tokens"  # noqa: S105 - the purpose of the key # nosec B105
"""Purpose of the key that signs completion tokens."""

MAX_PROBLEM_SIZE = 16_384
"""Bytes of a problem document; a larger one is cut to its title and the beginning of its detail."""

MAX_CANDIDATES = 50
"""Running jobs of a task and key among which the external one is searched."""

_TOKEN = re.compile(r"([0-9]{1,18})\.([A-Za-z0-9_-]{1,64})\.([A-Za-z0-9_-]{43})")


def make_token(key: bytes, lease: Lease) -> str:
    """Return the completion token of a lease, `<attempt>.<nonce>.<signature>`: the right to complete this attempt."""
    return f"{lease.attempt}.{lease.nonce}.{sign(key, _signed_text(lease))}"


def read_token(key: bytes, job_id: str, token: str) -> Lease | None:
    """Return the lease of a token, or None if the token is forged or belongs to another job."""
    found = _TOKEN.fullmatch(token)
    if found is None:
        return None
    lease = Lease(job_id, int(found[1]), found[2])
    return lease if is_signature(key, _signed_text(lease), found[3]) else None


def _signed_text(lease: Lease) -> str:
    return f"{lease.job_id}\n{lease.attempt}\n{lease.nonce}"


class CompletionStatus(StrEnum):
    """Outcome of a completion message. Only an accepted one has changed anything."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    LATE = "late"  # its attempt is over
    EARLY = "early"  # earlier events are missing
    FORGED = "forged"
    UNKNOWN = "unknown"  # there is no such job


@dataclass(frozen=True, slots=True)
class CompletionResult:
    """Outcome of a completion message. `error` is set if the result was invalid and therefore failed the attempt."""

    status: CompletionStatus
    detail: str = ""
    error: SidelaneError | None = None


class CompletionHandler:
    """Applies completion messages of external workers to their jobs."""

    def __init__(self, services: Services, *, on_progress: Callable[[JobRecord], None]) -> None:
        self._services = services
        self._registry = services.registry
        self._on_progress = on_progress

    @property
    def _client(self) -> Client:
        return self._services.client

    async def lease(self, job_id: str, token: str) -> Lease | None:
        """Return the lease of a token of this job, or None if the token is forged."""
        return read_token(await self._client.key(TOKEN_KEY), job_id, token)

    async def apply(
        self,
        message: CompletionMessage,
        *,
        trusted_tasks: Collection[str] = (),
        wait_for_gaps: bool = True,
        trace: str | None = None,
    ) -> CompletionResult:
        """Apply a completion message. A message that is applied again has no further effect.

        Jobs of `trusted_tasks` can be completed without a token. With `wait_for_gaps`, events are refused as `EARLY` while earlier
        events are missing. `trace` is the `traceparent` of the message or request. Raises `MalformedMessage` if an event is invalid
        or several jobs match. Raises `UnknownTask` if this process does not know the task. Raises `StoreUnavailable`, or
        `FilesUnavailable` if the result names files.
        """
        if (
            message.job is not None
            and message.token is not None
            and await self.lease(message.job, message.token) is None
        ):
            return CompletionResult(CompletionStatus.FORGED)
        found = await self._find_jobs(message, trusted_tasks)
        if not found:
            return CompletionResult(CompletionStatus.UNKNOWN)
        if message.token is not None:
            for record in found:
                lease = await self.lease(record.id, message.token)
                if lease is not None:
                    return await self._apply(message, record, lease, wait_for_gaps, trace)
            return CompletionResult(CompletionStatus.FORGED)
        if len(found) > 1:
            raise MalformedMessage("Several external jobs have this key, and the message has no token to choose one.")
        (record,) = found
        if record.spec.task not in trusted_tasks:
            return CompletionResult(CompletionStatus.FORGED)
        if record.external_lease is None:
            return CompletionResult(CompletionStatus.LATE)
        return await self._apply(message, record, record.external_lease, wait_for_gaps, trace)

    async def _find_jobs(self, message: CompletionMessage, trusted_tasks: Collection[str]) -> list[JobRecord]:
        """Return the job that a message names by its id, or the external jobs that have its key."""
        store, running = self._client.store, frozenset({State.RUNNING})
        if message.job is not None:
            return [record for record in await store.get([message.job]) if isinstance(record, JobRecord)]
        queries = [Query(key=message.key, task=task, states=running, limit=MAX_CANDIDATES) for task in trusted_tasks]
        return [
            record for query in queries for record in await store.list_jobs(query) if record.external_lease is not None
        ]

    async def _apply(
        self, message: CompletionMessage, record: JobRecord, lease: Lease, wait_for_gaps: bool, trace: str | None
    ) -> CompletionResult:
        task = self._registry.tasks.get(record.spec.task)
        if task is None:
            raise UnknownTask(f"No task named {record.spec.task!r} is registered here.")
        store = self._client.store
        current = record.external_lease == lease
        entries = self._entries(message)
        own_events = 1 if lease.attempt > 1 else 0  # a later attempt begins with an `attempt` event
        expected = record.ordinal + 1 - own_events if current and (entries or message.ordinal) else None
        ordinal = message.ordinal or expected or 1
        if wait_for_gaps and expected is not None and ordinal > expected:
            return CompletionResult(
                CompletionStatus.EARLY, f"the next expected event is number {expected}, and this is {ordinal}"
            )
        if not message.ends:
            seen = expected is not None and ordinal + len(entries) <= expected
            (valid,) = await store.append([EventAppend(lease=lease, ordinal=ordinal + own_events, entries=entries)])
            if valid and not seen:
                report_events(self._services.telemetry, record.spec, lease, entries)
            if valid and any(entry.name == PROGRESS for entry in entries):
                self._on_progress(record)
            return CompletionResult(
                (CompletionStatus.REPEATED if seen else CompletionStatus.ACCEPTED) if valid else CompletionStatus.LATE
            )
        outcome, error = self._outcome(message, record, task)
        outcome = add_job_context(outcome, record.id, lease.attempt)
        if current and isinstance(outcome, Succeeded):
            await self._client.keep_files(record.spec, outcome.result)
        report = AttemptResult(
            lease=lease, outcome=outcome, ordinal=ordinal + own_events, entries=entries, usage=message.usage,
            throttled=message.throttled,
        )  # fmt: skip
        ending = asyncio.create_task(self._end(record, report, trace, current=current))
        try:
            valid = await asyncio.shield(ending)
        except asyncio.CancelledError:
            await asyncio.wait([ending])  # so that whatever the store accepts is reported, even while a worker drains
            raise
        repeated = isinstance(outcome, Succeeded) is (record.state is State.SUCCEEDED)
        if not valid or not (current or repeated):  # the attempt has ended, perhaps with a problem before this result
            return CompletionResult(CompletionStatus.LATE)
        return CompletionResult(CompletionStatus.ACCEPTED if current else CompletionStatus.REPEATED, error=error)

    async def _end(self, record: JobRecord, report: AttemptResult, trace: str | None, *, current: bool) -> bool:
        """End an attempt, and report that if it is the `current` one. Return whether the store has accepted the end."""
        (valid,) = await self._client.store.finish([report])
        if valid and current:
            report_end(record, report.outcome)
            report_events(self._services.telemetry, record.spec, report.lease, report.entries)
            report_accepted_end(self._services.telemetry, record, report, Cause.EXTERNAL)
            record_external_attempt(self._services.telemetry, record, report, trace)
        return valid

    def _entries(self, message: CompletionMessage) -> tuple[NewEvent, ...]:
        limit = self._client.settings.payload_limit
        try:
            return tuple(_entry(event, limit) for event in message.events)
        except (ValueError, TypeError) as error:
            raise MalformedMessage(f"An event is invalid: {error}") from None

    def _outcome(
        self, message: CompletionMessage, record: JobRecord, task: AnyTask
    ) -> tuple[Outcome, SidelaneError | None]:
        """Return how the attempt ended, and the error of an invalid result."""
        if message.problem is not None:
            return _outcome_of_problem(message.problem, message.error, record, task, final=not message.retry), None
        try:
            return Succeeded(self._result(message.result, task)), None
        except (WrongResult, PayloadTooLarge) as error:
            retry = task.policy.retry
            return classify_error(error, failures=record.failures, retry=retry, registry=self._registry), error

    def _result(self, result: Any, task: AnyTask) -> str:
        """Return a result as JSON text of the task's return type. Raises `WrongResult` or `PayloadTooLarge`."""
        codec = task.signature.result
        try:
            text = codec.encode(codec.decode(to_json(result).decode()))
        except (TypeError, ValueError, PydanticSerializationError) as error:
            raise WrongResult(f"The result of task {task.name!r} is not of its declared type: {error}.") from None
        return check_size(text, self._client.settings.payload_limit, "The result of", task.name)


def _entry(event: EmittedEvent, limit: int) -> NewEvent:
    """Return a log entry, by the same rules as for a task's own events. Raises ValueError, TypeError or `PayloadTooLarge`."""
    data = event.data
    if event.name == PROGRESS:
        percent, message = (data.get("percent"), data.get("message", "")) if isinstance(data, dict) else (None, "")
        if isinstance(percent, bool) or not isinstance(percent, int | float) or not isinstance(message, str):
            raise ValueError('the data of progress are {"percent": 30, "message": "…"}.')
        return progress_event(percent, message, limit)
    if event.name == TOKEN:
        if not isinstance(data, dict) or not isinstance(data.get("text"), str):
            raise ValueError('the data of a token are {"text": "…"}.')
        return token_event(data["text"], limit)
    return named_event(event.name, data, limit)


def _outcome_of_problem(
    problem: Problem | Mapping[str, Any], reason: str | None, record: JobRecord, task: AnyTask, *, final: bool
) -> Outcome:
    """Return the outcome of an attempt whose worker reported a problem. Raises `MalformedMessage`."""
    found = _bounded_problem(problem if isinstance(problem, Problem) else Problem.of(problem))
    error = JobFailed(found)
    failure = Failure(problem=found, error=f"external worker: {reason or error}"[:1000])
    return retry_or_fail(failure, error, failures=record.failures, retry=task.policy.retry, final=final)


def _bounded_problem(problem: Problem) -> Problem:
    """Return a problem with an error status and of limited size. Raises `MalformedMessage`."""
    try:
        size = len(to_json(problem.document(), fallback=str, inf_nan_mode="strings"))
    except (PydanticSerializationError, ValueError):
        raise MalformedMessage("The problem cannot be written as JSON.") from None
    status = problem.status if problem.status in range(400, 600) else HTTPStatus.INTERNAL_SERVER_ERROR
    if size <= MAX_PROBLEM_SIZE:
        return replace(problem, status=int(status))
    return Problem(status=int(status), title=problem.title[:200], detail=problem.detail[:2000])
