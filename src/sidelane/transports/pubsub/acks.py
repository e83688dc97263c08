"""Acknowledgements: acknowledge, extend and release received messages, in batches."""

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from google.api_core import exceptions
from google.pubsub_v1 import types
from google.pubsub_v1.services.subscriber import SubscriberAsyncClient

from sidelane.coalescing import CallCoalescer
from sidelane.model.errors import TransportUnavailable
from sidelane.telemetry.events import MessageAction
from sidelane.transports.pubsub.connection import CALL_TIMEOUT, RETRY
from sidelane.transports.pubsub.errors import CLIENT_ERRORS, to_transport_error

MAX_DEADLINE = 600
"""Maximum seconds of an acknowledgement deadline."""

MAX_PER_REQUEST = 2_500
"""Maximum number of acknowledgement ids in one request, which has at most 512 KB."""

TRANSIENT = "TRANSIENT_"
"""Prefix of reasons for which exactly-once delivery refused an acknowledgement temporarily."""


Report = Callable[[MessageAction, Sequence[Any]], None]
"""Called after each request with what it did, and its messages or acknowledgement ids."""


class AckBatcher:
    """Sends acknowledgements and deadlines of one subscription's messages. Concurrent calls are joined into one request.

    An expired acknowledgement id is no error, because its message is delivered again. Methods may raise `TransportUnavailable`.
    """

    def __init__(self, client: SubscriberAsyncClient, path: str, report: Report) -> None:
        self._client = client
        self._path = path
        self._report = report
        self._done = CallCoalescer(self._acknowledge, limit=MAX_PER_REQUEST)
        self._changed = CallCoalescer(self._modify, limit=MAX_PER_REQUEST)

    async def acknowledge(self, ack_id: str) -> None:
        """Acknowledge a message. With exactly-once delivery, the service has confirmed it when this returns."""
        if error := await self._done(ack_id):
            raise error

    async def modify(self, ack_ids: Iterable[str], seconds: float) -> None:
        """Set the deadline of messages to this many seconds from now; 0 releases the messages."""
        deadline = whole_deadline(seconds)
        for error in await asyncio.gather(*(self._changed((ack_id, deadline)) for ack_id in ack_ids)):
            if error:
                raise error

    async def _acknowledge(self, ack_ids: Sequence[str]) -> list[TransportUnavailable | None]:
        request = types.AcknowledgeRequest(subscription=self._path, ack_ids=ack_ids)
        answers = await self._answers(self._client.acknowledge, request, MessageAction.DELETED)
        return [answers(ack_id) for ack_id in ack_ids]

    async def _modify(self, changes: Sequence[tuple[str, int]]) -> list[TransportUnavailable | None]:
        together = defaultdict[int, list[str]](list)
        for ack_id, deadline in changes:
            together[deadline].append(ack_id)
        answers = {}
        for deadline, ack_ids in together.items():
            request = types.ModifyAckDeadlineRequest(
                subscription=self._path, ack_ids=ack_ids, ack_deadline_seconds=deadline
            )
            answers[deadline] = await self._answers(self._client.modify_ack_deadline, request, MessageAction.EXTENDED)
        return [answers[deadline](ack_id) for ack_id, deadline in changes]

    async def _answers(
        self, call: Any, request: Any, action: MessageAction
    ) -> Callable[[str], TransportUnavailable | None]:
        """Call, and return the result for each id."""
        try:
            await call(request=request, retry=RETRY, timeout=CALL_TIMEOUT)
        except CLIENT_ERRORS as error:
            refused = _refused(error)
            message = to_transport_error(error, f"subscription {self._path}", needs="roles/pubsub.subscriber")
            unavailable = TransportUnavailable(str(message))
            return lambda ack_id: unavailable if not refused or refused.get(ack_id, "").startswith(TRANSIENT) else None
        self._report(action, request.ack_ids)
        return lambda ack_id: None


def whole_deadline(seconds: float) -> int:
    """Return a deadline in whole seconds, as Pub/Sub counts it, up to its maximum."""
    return min(math.ceil(seconds), MAX_DEADLINE)


def _refused(error: BaseException) -> Mapping[str, str]:
    """Return the acknowledgement ids that exactly-once delivery refused, each with the reason."""
    if isinstance(error, exceptions.RetryError):
        error = error.cause or error
    if isinstance(error, exceptions.GoogleAPICallError) and error.metadata:
        return {str(ack_id): str(reason) for ack_id, reason in error.metadata.items() if "_FAILURE_" in str(reason)}
    return {}
