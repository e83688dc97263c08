"""Intakes: messages of others that become jobs, without anybody's HTTP in the middle."""

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from inspect import isawaitable
from typing import Any

from pydantic import ValidationError

from sidelane.model.codec import format_validation_error
from sidelane.model.errors import ArgumentsError, ConfigurationError, MalformedMessage, PayloadTooLarge, SidelaneError
from sidelane.model.ids import is_traceparent
from sidelane.model.job import JobSpec
from sidelane.model.message import Message
from sidelane.tasks.task import Call
from sidelane.transports.cloudevents import read_envelope
from sidelane.transports.endpoints import Address
from sidelane.transports.receive_loop import require_receivable

MAX_REASON_LENGTH = 500
"""Characters of what is said about a message that makes no job."""

MALFORMED = (MalformedMessage, ArgumentsError, PayloadTooLarge, ValueError, TypeError, LookupError)
"""What an intake's function raises over a message that it can make nothing of: it never will, so it is not tried again."""

ConsumerResult = Call[Any] | None
MessageHandler = Callable[[Message], ConsumerResult | Awaitable[ConsumerResult]]
"""Says which call a message asks for; None: for none, and that is fine."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """A function that makes calls of the messages that come in at an address. Called, it is just the function.

    Raises `ConfigurationError` on an address that nothing comes in at.
    """

    function: MessageHandler
    name: str
    address: Address

    def __post_init__(self) -> None:
        require_receivable(self.address)

    def __call__(self, message: Message) -> ConsumerResult | Awaitable[ConsumerResult]:
        return self.function(message)

    async def call(self, message: Message) -> ConsumerResult:
        """Say which call a message asks for, or None where it asks for none.

        Its job gets an id made of the message's own, unless the call has one, so that a message that comes again makes no second
        job. Raises `MalformedMessage`, with a reason for people, and whatever else the function raises.
        """
        with _malformed():
            found = self.function(message)
            call = await found if isawaitable(found) else found
        if call is None:
            return None
        if not isinstance(call, Call):
            raise ConfigurationError(
                f"Consumer {self.name!r} gives {type(call).__name__}: it is to give a call, or None."
            )
        return call.with_options(id=self._job_id(message)) if call.options.id is None and message.id else call

    async def spec(self, message: Message, *, remember: float) -> JobSpec | None:
        """Say everything the store must know of what a message asks for, which may come again for `remember` seconds.

        Raises as `call` does.
        """
        call = await self.call(message)
        if call is None:
            return None
        with _malformed():
            return replace(call.spec(trace=trace_of(message)), id_retention=remember)

    def _job_id(self, message: Message) -> str:
        digest = hashlib.sha256(f"{self.name}\n{message.id}".encode()).hexdigest()[:32]
        return f"in-{digest}"  # whoever knows the message's id can work it out, so it must not look like one that is random


class ConsumerRegistry:
    """The intakes of one lane, by name."""

    def __init__(self) -> None:
        self._named: dict[str, Consumer] = {}

    def __iter__(self) -> Iterator[Consumer]:
        return iter(self._named.values())

    def declare(self, address: Address, name: str | None, function: MessageHandler) -> Consumer:
        """Make a function an intake. Raises `ConfigurationError` where its name is taken."""
        intake = Consumer(function, name or function.__name__, address)
        if intake.name in self._named:
            raise ConfigurationError(
                f"This lane has an intake {intake.name!r} already. Give one of them another name=…."
            )
        self._named[intake.name] = intake
        return intake


def trace_of(message: Message) -> str | None:
    """Find the trace that a message belongs to: in its attributes, or in the CloudEvent that it may be."""
    trace: str | None = message.attributes.get("traceparent")
    if trace is None and '"specversion"' in message.body:
        try:
            trace = read_envelope(message.body).traceparent
        except MalformedMessage:
            return None
    return trace if trace is not None and is_traceparent(trace) else None


@contextmanager
def _malformed() -> Iterator[None]:
    """Turn what is raised over a message that nothing can be made of into `MalformedMessage`."""
    try:
        yield
    except MALFORMED as error:
        raise MalformedMessage(_reason(error)) from error


def _reason(error: Exception) -> str:
    """Say what is wrong with a message in one line, which goes with it: no traceback, and of the message itself nothing more
    than the function's own words do."""
    if isinstance(error, SidelaneError):
        text = str(error)
    elif isinstance(error, ValidationError):
        text = f"{error.title}: {format_validation_error(error)}"
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:MAX_REASON_LENGTH]
