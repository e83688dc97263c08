"""What the service is told of messages that were received: done with, wanted for longer, given back."""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence

from google.api_core import exceptions
from google.pubsub_v1 import types
from google.pubsub_v1.services.subscriber import SubscriberAsyncClient

from sidelane.model.errors import TransportUnavailable
from sidelane.transports.pubsub.connection import ONE_TRY, TRYING
from sidelane.transports.pubsub.faults import FAULTS, fault

LONGEST = 600
"""Seconds for which a message can be held at a time."""

IN_ONE = 2_500
"""Acknowledgement ids in one request: it takes 512 KB."""

TRANSIENT = "TRANSIENT_"
"""What begins the reason for which exactly-once delivery did not take an acknowledgement, where trying again helps."""


class Acknowledging:
    """Speaks of messages of one subscription by their acknowledgement ids.

    An id that does not count for the service any more is no error: its message comes again. Everything raises
    `TransportUnavailable`.
    """

    def __init__(self, client: SubscriberAsyncClient, path: str) -> None:
        self._client = client
        self._path = path

    async def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """Be done with messages. With exactly-once delivery the service has confirmed it when this returns."""

        async def call(some: Sequence[str]) -> None:
            request = types.AcknowledgeRequest(subscription=self._path, ack_ids=some)
            await self._client.acknowledge(request=request, retry=TRYING, timeout=ONE_TRY)

        await self._tell(call, ack_ids)

    async def modify(self, ack_ids: Sequence[str], seconds: float) -> None:
        """Give messages so much time from now; none gives them back."""
        deadline = whole(seconds)

        async def call(some: Sequence[str]) -> None:
            request = types.ModifyAckDeadlineRequest(
                subscription=self._path, ack_ids=some, ack_deadline_seconds=deadline
            )
            await self._client.modify_ack_deadline(request=request, retry=TRYING, timeout=ONE_TRY)

        await self._tell(call, ack_ids)

    async def _tell(self, call: Callable[[Sequence[str]], Awaitable[None]], ack_ids: Sequence[str]) -> None:
        for begin in range(0, len(ack_ids), IN_ONE):
            try:
                await call(ack_ids[begin : begin + IN_ONE])
            except FAULTS as error:
                refused = _refused(error)
                if not refused or any(why.startswith(TRANSIENT) for why in refused.values()):
                    said = fault(error, f"subscription {self._path}", needs="roles/pubsub.subscriber")
                    raise TransportUnavailable(str(said)) from error


def whole(seconds: float) -> int:
    """Give the whole seconds that Pub/Sub counts in, as many as it can at a time."""
    return min(math.ceil(seconds), LONGEST)


def _refused(error: BaseException) -> Mapping[str, str]:
    """Read what exactly-once delivery says of acknowledgement ids it did not take: the id, and why."""
    if isinstance(error, exceptions.RetryError):
        error = error.cause or error
    if isinstance(error, exceptions.GoogleAPICallError) and error.metadata:
        return {str(ack_id): str(why) for ack_id, why in error.metadata.items() if "_FAILURE_" in str(why)}
    return {}
