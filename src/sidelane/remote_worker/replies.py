"""Reply sender: sends events and completions of a remote worker's jobs to the lane that dispatched the jobs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pydantic_core import from_json

from sidelane.files.files import Files
from sidelane.model.errors import FilesUnavailable, TransportUnavailable
from sidelane.model.event import NewEvent
from sidelane.model.job import DAY
from sidelane.model.message import Message
from sidelane.model.outcome import AttemptResult, Failed, Retried, Succeeded
from sidelane.model.problem import Problem
from sidelane.transports.contract import Transport
from sidelane.transports.data_reference import fit_message
from sidelane.transports.job_messages import (
    MAX_EVENTS,
    CompletionMessage,
    DispatchedJob,
    EmittedEvent,
    write_completion,
)

ENVELOPE_SIZE = 4096
"""Bytes of a message in addition to its result and events, for names, ids and the token."""

MESSAGE_OVERHEAD = 512
"""Bytes of a message that the transport counts in addition to its body."""

EVENT_OVERHEAD = 32
"""Bytes of an event in addition to its name and data."""


class ReplySender:
    """Sends events and completions of jobs. A repeated message has no effect, because events have ordinals and a token completes
    one attempt.

    Data that is too large for a message is stored in `files`, if these are in a bucket that both sides can reach.
    """

    def __init__(self, transport: Transport, files: Files) -> None:
        self._transport = transport
        self._files = files if "://" in files.location else None

    @property
    def max_result_size(self) -> int | None:
        """Maximum bytes of a result or an event; None means no limit."""
        return self._capacity if self._files is None else None

    @property
    def _capacity(self) -> int:
        """Number of bytes of results and events that fit into one message."""
        return self._transport.max_message_size - ENVELOPE_SIZE

    async def events(self, job: DispatchedJob, ordinal: int, entries: Sequence[NewEvent]) -> None:
        """Send events. The first event has this ordinal. Raises `TransportError`."""
        completions: dict[str, CompletionMessage] = {}
        for chunk in _chunks(entries, self._capacity):
            completions[f"events.{ordinal}"] = CompletionMessage(
                job=job.job, token=job.token, events=_emitted(chunk), ordinal=ordinal
            )
            ordinal += len(chunk)
        await self._send(job, completions)

    async def end(self, job: DispatchedJob, outcome: Succeeded | Retried | Failed, report: AttemptResult) -> None:
        """Send the completion of an attempt with this outcome, and its last events. Raises `TransportError`."""
        job = replace(job, traceparent=report.trace or job.traceparent)
        ordinal, entries = report.ordinal, report.entries
        size = len(outcome.result.encode()) if isinstance(outcome, Succeeded) else ENVELOPE_SIZE
        if entries and (len(entries) > MAX_EVENTS or size + sum(map(_size, entries)) > self._capacity):
            await self.events(job, ordinal, entries)
            ordinal, entries = ordinal + len(entries), ()
        if isinstance(outcome, Succeeded):
            completion = CompletionMessage(
                job=job.job,
                token=job.token,
                result=from_json(outcome.result),
                events=_emitted(entries),
                ordinal=ordinal,
                usage=report.usage,
            )
        else:
            completion = CompletionMessage(
                job=job.job, token=job.token, problem=outcome.failure.problem, error=outcome.failure.error or None,
                retry=isinstance(outcome, Retried), events=_emitted(entries), ordinal=ordinal, usage=report.usage,
                throttled=report.throttled,
            )  # fmt: skip
        await self._send(job, {"end": completion})

    async def refusal(self, job: DispatchedJob, problem: Problem) -> None:
        """Send a final problem, because no worker can run the job. Raises `TransportError`."""
        completion = CompletionMessage(job=job.job, token=job.token, problem=problem, retry=False)
        await self._send(job, {"end": completion})

    async def _send(self, job: DispatchedJob, completions: Mapping[str, CompletionMessage]) -> None:
        """Send messages, each with an id that is the same when it is sent again."""
        messages = [await self._message(job, name, completion) for name, completion in completions.items()]
        for error in await self._transport.send(messages):
            if error is not None:
                raise error

    async def _message(self, job: DispatchedJob, name: str, completion: CompletionMessage) -> Message:
        message = write_completion(completion, id=f"{job.id}.{name}", traceparent=job.traceparent)
        if self._files is None:
            return message
        max_size = self._transport.max_message_size - MESSAGE_OVERHEAD
        try:
            return await fit_message(
                message, max_size, self._files, name=f"{job.id}.{name}.json", lifetime=DAY
            )  # fmt: skip
        except FilesUnavailable as error:
            raise TransportUnavailable(str(error)) from error


def _chunks(entries: Sequence[NewEvent], capacity: int) -> Iterator[Sequence[NewEvent]]:
    """Yield chunks of events that fit into one message. One event always fits, because its size is checked when a task emits it."""
    start, size = 0, 0
    for index, entry in enumerate(entries):
        size += _size(entry)
        if index > start and (size > capacity or index - start >= MAX_EVENTS):
            yield entries[start:index]
            start, size = index, _size(entry)
    if entries:
        yield entries[start:]


def _size(entry: NewEvent) -> int:
    return len(entry.data.encode()) + len(entry.name) + EVENT_OVERHEAD


def _emitted(entries: Sequence[NewEvent]) -> tuple[EmittedEvent, ...]:
    return tuple(EmittedEvent(entry.name, from_json(entry.data)) for entry in entries)
