"""Replying: what became of an offer, on its way to whoever made it."""

from collections.abc import Iterator, Mapping, Sequence

from pydantic_core import from_json

from sidelane.files.files import Files
from sidelane.model.errors import FilesUnavailable, TransportUnavailable
from sidelane.model.event import NewEvent
from sidelane.model.message import Message
from sidelane.model.outcome import Failed, Retried, Succeeded
from sidelane.model.problem import Problem
from sidelane.transports.contract import Transport
from sidelane.transports.job_messages import (
    MAX_EVENTS,
    CompletionMessage,
    DispatchedJob,
    EmittedEvent,
    data_of,
    reply_message,
    with_dataref,
)

ENVELOPE_SIZE = 4096
"""Bytes of a message that are neither result nor events: names, ids, the token."""

MESSAGE_OVERHEAD = 512
"""Bytes of a message beside its body."""

EVENT_OVERHEAD = 32
"""Bytes that an event takes beside its name and data."""


class ReplySender:
    """Sends events and ends of offered jobs. What is sent twice counts once: events have ordinals, a token ends one job once.

    What is too large for a message goes by `files`, where both sides reach them: in a bucket.
    """

    def __init__(self, transport: Transport, files: Files) -> None:
        self._transport = transport
        self._files = files if "://" in files.location else None

    @property
    def most(self) -> int | None:
        """How many bytes a result, or an event, may have; None: any number."""
        return self._room if self._files is None else None

    @property
    def _room(self) -> int:
        """How many bytes of results and events one message can carry."""
        return self._transport.largest - ENVELOPE_SIZE

    async def events(self, offer: DispatchedJob, ordinal: int, entries: Sequence[NewEvent]) -> None:
        """Send events, the first of them with this ordinal. Raises `TransportError`."""
        replies: dict[str, CompletionMessage] = {}
        for piece in _pieces(entries, self._room):
            reply = CompletionMessage(job=offer.job, token=offer.token, events=_emitted(piece), ordinal=ordinal)
            replies[f"events.{ordinal}"] = reply
            ordinal += len(piece)
        await self._sent(offer, replies)

    async def end(
        self, offer: DispatchedJob, outcome: Succeeded | Retried | Failed, ordinal: int, entries: Sequence[NewEvent]
    ) -> None:
        """Send how a job ended, with its last events. Raises `TransportError`."""
        size = len(outcome.result.encode()) if isinstance(outcome, Succeeded) else ENVELOPE_SIZE
        if entries and (len(entries) > MAX_EVENTS or size + sum(map(_size, entries)) > self._room):
            await self.events(offer, ordinal, entries)
            ordinal, entries = ordinal + len(entries), ()
        if isinstance(outcome, Succeeded):
            reply = CompletionMessage(
                job=offer.job,
                token=offer.token,
                result=from_json(outcome.result),
                events=_emitted(entries),
                ordinal=ordinal,
            )
        else:
            reply = CompletionMessage(
                job=offer.job, token=offer.token, problem=outcome.failure.problem, error=outcome.failure.error or None,
                retry=isinstance(outcome, Retried), events=_emitted(entries), ordinal=ordinal,
            )  # fmt: skip
        await self._sent(offer, {"end": reply})

    async def refusal(self, offer: DispatchedJob, problem: Problem) -> None:
        """Send that a job cannot be done here, nor elsewhere. Raises `TransportError`."""
        reply = CompletionMessage(job=offer.job, token=offer.token, problem=problem, retry=False)
        await self._sent(offer, {"end": reply})

    async def _sent(self, offer: DispatchedJob, replies: Mapping[str, CompletionMessage]) -> None:
        """Send replies to an offer, each with an id by which it is known when it is sent again."""
        messages = [await self._message(offer, name, reply) for name, reply in replies.items()]
        for error in await self._transport.send(messages):
            if error is not None:
                raise error

    async def _message(self, offer: DispatchedJob, name: str, reply: CompletionMessage) -> Message:
        message = reply_message(reply, id=f"{offer.id}.{name}", traceparent=offer.traceparent)
        if self._files is None or len(message.body.encode()) <= self._transport.largest - MESSAGE_OVERHEAD:
            return message
        try:
            return with_dataref(message, await self._files.put_text(data_of(message), name=f"{offer.id}.{name}.json"))
        except FilesUnavailable as error:
            raise TransportUnavailable(str(error)) from error


def _pieces(entries: Sequence[NewEvent], room: int) -> Iterator[Sequence[NewEvent]]:
    """Cut events into what one message can carry. One alone always fits: a task is held to that when it emits it."""
    start, size = 0, 0
    for place, entry in enumerate(entries):
        size += _size(entry)
        if place > start and (size > room or place - start >= MAX_EVENTS):
            yield entries[start:place]
            start, size = place, _size(entry)
    if entries:
        yield entries[start:]


def _size(entry: NewEvent) -> int:
    return len(entry.data.encode()) + len(entry.name) + EVENT_OVERHEAD


def _emitted(entries: Sequence[NewEvent]) -> tuple[EmittedEvent, ...]:
    return tuple(EmittedEvent(entry.name, from_json(entry.data)) for entry in entries)
