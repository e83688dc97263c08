"""What the service is told of messages that were received: done with, wanted for longer, given back."""

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
from sidelane.transports.pubsub.connection import ONE_TRY, TRYING
from sidelane.transports.pubsub.errors import FAULTS, fault

MAX_DEADLINE = 600
"""Seconds for which a message can be held at a time."""

MAX_PER_REQUEST = 2_500
"""Acknowledgement ids in one request: it takes 512 KB."""

TRANSIENT = "TRANSIENT_"
"""What begins the reason for which exactly-once delivery did not take an acknowledgement, where trying again helps."""


class AckBatcher:
    """Speaks of messages of one subscription by their acknowledgement ids; what is said at the same time goes together.

    An id that does not count for the service any more is no error: its message comes again. Everything raises
    `TransportUnavailable`.
    """

    def __init__(self, client: SubscriberAsyncClient, path: str) -> None:
        self._client = client
        self._path = path
        self._done = CallCoalescer(self._acknowledge, limit=MAX_PER_REQUEST)
        self._changed = CallCoalescer(self._modify, limit=MAX_PER_REQUEST)

    async def acknowledge(self, ack_id: str) -> None:
        """Be done with a message. With exactly-once delivery the service has confirmed it when this returns."""
        if error := await self._done(ack_id):
            raise error

    async def modify(self, ack_ids: Iterable[str], seconds: float) -> None:
        """Give messages so much time from now; none gives them back."""
        deadline = whole(seconds)
        for error in await asyncio.gather(*(self._changed((ack_id, deadline)) for ack_id in ack_ids)):
            if error:
                raise error

    async def _acknowledge(self, ack_ids: Sequence[str]) -> list[TransportUnavailable | None]:
        request = types.AcknowledgeRequest(subscription=self._path, ack_ids=ack_ids)
        answers = await self._answers(self._client.acknowledge, request)
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
            answers[deadline] = await self._answers(self._client.modify_ack_deadline, request)
        return [answers[deadline](ack_id) for ack_id, deadline in changes]

    async def _answers(self, call: Any, request: Any) -> Callable[[str], TransportUnavailable | None]:
        """Call, and give what came of it for each id."""
        try:
            await call(request=request, retry=TRYING, timeout=ONE_TRY)
        except FAULTS as error:
            refused = _refused(error)
            said = fault(error, f"subscription {self._path}", needs="roles/pubsub.subscriber")
            unavailable = TransportUnavailable(str(said))
            return lambda ack_id: unavailable if not refused or refused.get(ack_id, "").startswith(TRANSIENT) else None
        return lambda ack_id: None


def whole(seconds: float) -> int:
    """Give the whole seconds that Pub/Sub counts in, as many as it can at a time."""
    return min(math.ceil(seconds), MAX_DEADLINE)


def _refused(error: BaseException) -> Mapping[str, str]:
    """Read what exactly-once delivery says of acknowledgement ids it did not take: the id, and why."""
    if isinstance(error, exceptions.RetryError):
        error = error.cause or error
    if isinstance(error, exceptions.GoogleAPICallError) and error.metadata:
        return {str(ack_id): str(why) for ack_id, why in error.metadata.items() if "_FAILURE_" in str(why)}
    return {}
