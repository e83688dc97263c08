"""Applying what comes from outside to the jobs that are there: whose word counts, and what it does."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from sidelane.client.client import Client
from sidelane.external.completion_token import PURPOSE, read_token
from sidelane.model.codec import check_size
from sidelane.model.errors import JobFailed, MalformedMessage, PayloadTooLarge, SidelaneError, UnknownTask
from sidelane.model.event import PROGRESS, TOKEN, NewEvent, named_event, progress_event, token_event
from sidelane.model.job import Failure, JobRecord, Lease, Query, State
from sidelane.model.outcome import AttemptResult, EventAppend, Outcome, Succeeded
from sidelane.model.problem import Problem
from sidelane.services import Services
from sidelane.tasks.registry import AnyTask
from sidelane.transports.job_messages import CompletionMessage, EmittedEvent
from sidelane.worker.outcome import WrongResult, add_job_context, classify_error, report_end, retry_or_fail

MAX_PROBLEM_SIZE = 16_384
"""Bytes of a problem document; of a larger one the title and the beginning of the detail are kept."""

MAX_CANDIDATES = 50
"""How many running jobs of a task and key are looked at for the one that is outside."""


class CompletionStatus(StrEnum):
    """What became of a reply. Only an accepted one has changed anything."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    LATE = "late"  # the hand-over it speaks for is over
    EARLY = "early"  # events before it have not come
    FORGED = "forged"
    UNKNOWN = "unknown"  # there is no such job


@dataclass(frozen=True, slots=True)
class CompletionResult:
    """What became of a reply; `wrong` says what keeps its result from being one, which was a failure of the job then."""

    answer: CompletionStatus
    detail: str = ""
    wrong: SidelaneError | None = None


class CompletionHandler:
    """Ends and feeds jobs that are handed over, as their outside workers say."""

    def __init__(self, services: Services, *, on_progress: Callable[[JobRecord], None]) -> None:
        self._services = services
        self._registry = services.registry
        self._on_progress = on_progress

    @property
    def _client(self) -> Client:
        return self._services.client

    async def lease(self, job_id: str, token: str) -> Lease | None:
        """Give the lease that a token of this job is the right to; None where it is forged."""
        return read_token(await self._client.key(PURPOSE), job_id, token)

    async def apply(
        self, reply: CompletionMessage, *, trusting: Collection[str] = (), patient: bool = True
    ) -> CompletionResult:
        """Do what a reply says, once.

        `trusting` are the tasks of whose jobs it may speak without a token. `patient`: events wait for those before them.
        Raises `MalformedMessage` on an event that cannot be, or where more than one job may be meant, `UnknownTask` where this
        process does not know the job's task, `StoreUnavailable`, and `FilesUnavailable` where the result names files.
        """
        if reply.job is not None and reply.token is not None and await self.lease(reply.job, reply.token) is None:
            return CompletionResult(CompletionStatus.FORGED)
        meant = await self._meant(reply, trusting)
        if not meant:
            return CompletionResult(CompletionStatus.UNKNOWN)
        if reply.token is not None:
            for record in meant:
                lease = await self.lease(record.id, reply.token)
                if lease is not None:
                    return await self._speak(reply, record, lease, patient)
            return CompletionResult(CompletionStatus.FORGED)
        if len(meant) > 1:
            raise MalformedMessage(
                "More than one job of this key is outside, and the reply has no token to tell them apart."
            )
        (record,) = meant
        if record.spec.task not in trusting:
            return CompletionResult(CompletionStatus.FORGED)
        if record.external_lease is None:
            return CompletionResult(CompletionStatus.LATE)
        return await self._speak(reply, record, record.external_lease, patient)

    async def _meant(self, reply: CompletionMessage, trusting: Collection[str]) -> list[JobRecord]:
        """Find the job that a reply names by its id, or those outside that have its key."""
        store, running = self._client.store, frozenset({State.RUNNING})
        if reply.job is not None:
            return [record for record in await store.get([reply.job]) if isinstance(record, JobRecord)]
        queries = [Query(key=reply.key, task=task, states=running, limit=MAX_CANDIDATES) for task in trusting]
        return [
            record for query in queries for record in await store.list_jobs(query) if record.external_lease is not None
        ]

    async def _speak(
        self, reply: CompletionMessage, record: JobRecord, lease: Lease, patient: bool
    ) -> CompletionResult:
        task = self._registry.tasks.get(record.spec.task)
        if task is None:
            raise UnknownTask(f"No task named {record.spec.task!r} is registered here.")
        store = self._client.store
        current = record.external_lease == lease
        entries = self._entries(reply)
        own = 1 if lease.attempt > 1 else 0  # the first entry of a later attempt is not the outside's
        expected = record.ordinal + 1 - own if current and (entries or reply.ordinal) else None
        ordinal = reply.ordinal or expected or 1
        if patient and expected is not None and ordinal > expected:
            return CompletionResult(
                CompletionStatus.EARLY, f"the next event to come is number {expected}, and this is {ordinal}"
            )
        if not reply.ends:
            seen = expected is not None and ordinal + len(entries) <= expected
            (held,) = await store.append([EventAppend(lease=lease, ordinal=ordinal + own, entries=entries)])
            if held and any(entry.name == PROGRESS for entry in entries):
                self._on_progress(record)
            return CompletionResult(
                (CompletionStatus.REPEATED if seen else CompletionStatus.ACCEPTED) if held else CompletionStatus.LATE
            )
        outcome, wrong = self._outcome(reply, record, task)
        outcome = add_job_context(outcome, record.id, lease.attempt)
        if current and isinstance(outcome, Succeeded):
            await self._client.keep_files(record.spec, outcome.result)
        report = AttemptResult(lease=lease, outcome=outcome, ordinal=ordinal + own, entries=entries)
        (held,) = await store.finish([report])
        if held and current:
            report_end(record, outcome)
        answer = (
            (CompletionStatus.ACCEPTED if current else CompletionStatus.REPEATED) if held else CompletionStatus.LATE
        )
        return CompletionResult(answer, wrong=wrong if held else None)

    def _entries(self, reply: CompletionMessage) -> tuple[NewEvent, ...]:
        limit = self._client.settings.payload_limit
        try:
            return tuple(_entry(event, limit) for event in reply.events)
        except (ValueError, TypeError) as error:
            raise MalformedMessage(f"An event cannot be taken: {error}") from None

    def _outcome(
        self, reply: CompletionMessage, record: JobRecord, task: AnyTask
    ) -> tuple[Outcome, SidelaneError | None]:
        """Say how the attempt ended, and what was wrong with its result."""
        if reply.problem is not None:
            return _problematic(reply.problem, reply.error, record, task, final=not reply.retry), None
        try:
            return Succeeded(self._result(reply.result, task)), None
        except (WrongResult, PayloadTooLarge) as wrong:
            retry = task.policy.retry
            return classify_error(wrong, failures=record.failures, retry=retry, registry=self._registry), wrong

    def _result(self, result: Any, task: AnyTask) -> str:
        """Give a result as JSON text of the task's own type. Raises `WrongResult`, `PayloadTooLarge`."""
        codec = task.signature.result
        try:
            text = codec.encode(codec.decode(to_json(result).decode()))
        except (TypeError, ValueError, PydanticSerializationError) as error:
            raise WrongResult(f"What came back for task {task.name!r} is not of its declared type: {error}.") from None
        return check_size(text, self._client.settings.payload_limit, "The result of", task.name)


def _entry(event: EmittedEvent, limit: int) -> NewEvent:
    """Make an entry by the rules that bind a task's own words. Raises ValueError, TypeError, `PayloadTooLarge`."""
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


def _problematic(
    problem: Problem | Mapping[str, Any], words: str | None, record: JobRecord, task: AnyTask, *, final: bool
) -> Outcome:
    """Say how an attempt ended whose worker met a problem. Raises `MalformedMessage`."""
    found = _proper(problem if isinstance(problem, Problem) else Problem.of(problem))
    error = JobFailed(found)
    failure = Failure(problem=found, error=f"outside: {words or error}"[:1000])
    return retry_or_fail(failure, error, failures=record.failures, retry=task.policy.retry, final=final)


def _proper(problem: Problem) -> Problem:
    """Give a problem with the status of an error, and of a size that may go wherever problems do. Raises `MalformedMessage`."""
    try:
        size = len(to_json(problem.document(), fallback=str, inf_nan_mode="strings"))
    except (PydanticSerializationError, ValueError):
        raise MalformedMessage("The problem cannot be written as JSON.") from None
    status = problem.status if problem.status in range(400, 600) else HTTPStatus.INTERNAL_SERVER_ERROR
    if size <= MAX_PROBLEM_SIZE:
        return replace(problem, status=int(status))
    return Problem(status=int(status), title=problem.title[:200], detail=problem.detail[:2000])
