"""Consumers: functions that turn the messages of an endpoint into jobs."""

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from inspect import isawaitable
from typing import Any

from pydantic import ValidationError

from sidelane.model.codec import format_validation_error
from sidelane.model.errors import ArgumentsError, ConfigurationError, MalformedMessage, PayloadTooLarge, SidelaneError
from sidelane.model.job import JobSpec
from sidelane.model.message import Message
from sidelane.tasks.task import Call, check_lane
from sidelane.transports.cloudevents import trace_of
from sidelane.transports.contract import Endpoint
from sidelane.transports.endpoints import require_receivable

MAX_REASON_LENGTH = 500
"""Maximum characters of a dead letter's reason."""

MALFORMED = (MalformedMessage, ArgumentsError, PayloadTooLarge, ValueError, TypeError, LookupError, RecursionError)
"""Exceptions of a consumer's function that mean that the message is bad: another attempt would not help.

`json.loads` raises RecursionError for JSON that is nested too deeply.
"""

ConsumerResult = Call[Any] | None
MessageHandler = Callable[[Message], ConsumerResult | Awaitable[ConsumerResult]]
"""Returns the call for a message, or None to ignore the message."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """A function that returns calls for the messages of an endpoint. Calling the consumer calls the function.

    Raises `ConfigurationError` if nothing can be received from the endpoint.
    """

    function: MessageHandler
    name: str
    endpoint: Endpoint
    registry: object = field(repr=False)  # of its lane

    def __post_init__(self) -> None:
        require_receivable(self.endpoint)

    def __call__(self, message: Message) -> ConsumerResult | Awaitable[ConsumerResult]:
        return self.function(message)

    async def call(self, message: Message) -> ConsumerResult:
        """Return the call for a message, or None.

        Unless the call has an id, the job's id is derived from the message's, so that a redelivered message makes no second job.
        Raises `MalformedMessage` with a readable reason if the message is malformed, and `ConfigurationError` if the function
        returns anything but a call of this lane. Other errors of the function are not changed.
        """
        with _malformed():
            found = self.function(message)
            call = await found if isawaitable(found) else found
        if call is None:
            return None
        if not isinstance(call, Call):
            raise ConfigurationError(
                f"Consumer {self.name!r} returned {type(call).__name__}, which is neither a call nor None."
            )
        check_lane(call, self.registry)
        return call.with_options(id=self._job_id(message)) if call.options.id is None and message.id else call

    async def spec(self, message: Message, *, id_retention: float) -> JobSpec | None:
        """Return the spec of the job for a message. The job's id is kept for `id_retention` seconds.

        Raises the errors of `call`.
        """
        call = await self.call(message)
        if call is None:
            return None
        with _malformed():
            return replace(call.spec(trace=trace_of(message)), id_retention=id_retention)

    def _job_id(self, message: Message) -> str:
        digest = hashlib.sha256(f"{self.name}\n{message.id}".encode()).hexdigest()[:32]
        return f"in-{digest}"  # it can be derived from the message's id, so it must not look random


@contextmanager
def _malformed() -> Iterator[None]:
    """Raise `MalformedMessage` instead of the exceptions which mean that the message is malformed."""
    try:
        yield
    except MALFORMED as error:
        raise MalformedMessage(_reason(error)) from error


def _reason(error: Exception) -> str:
    """Return the reason for a dead letter in one line.

    The reason has no traceback, and quotes the message only if the error does.
    """
    if isinstance(error, SidelaneError):
        text = str(error)
    elif isinstance(error, ValidationError):
        text = f"{error.title}: {format_validation_error(error)}"
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:MAX_REASON_LENGTH]
