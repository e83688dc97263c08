"""Publisher: sends as many messages in one request as fit, and each group in its order."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from google.api_core.exceptions import InvalidArgument
from google.pubsub_v1 import types

from sidelane.model.errors import TransportError, TransportUnavailable
from sidelane.model.message import Message

MAX_MESSAGES = 1_000
MAX_BYTES = 9_990_000
"""Maximum messages and bytes of one request. Pub/Sub accepts 10 MB including the framing."""

MAX_CONCURRENT = 20
"""Maximum number of concurrent requests."""

Publish = Callable[[Sequence[Any]], Awaitable[None]]
"""Sends one request. Raises `TransportUnavailable` and `TransportMisconfigured`."""


class PublishCall:
    """One call of `send`: its messages, and their answers."""

    def __init__(self, messages: Sequence[Message], publish: Publish) -> None:
        self._messages = messages
        self._publish = publish
        self._limit = asyncio.Semaphore(MAX_CONCURRENT)
        self.answers: dict[int, TransportError | None] = {}

    async def run(self, indexes: Sequence[int]) -> None:
        """Send the messages at these indexes, and record an answer for each."""
        groups = defaultdict[str, list[int]](list)
        for index in indexes:
            groups[self._messages[index].group or ""].append(index)
        ungrouped = groups.pop("", [])
        async with asyncio.TaskGroup() as requests:
            for chunk in self._chunks(ungrouped):
                requests.create_task(self._send(chunk))
            for group in groups.values():
                requests.create_task(self._send_in_order(group))

    async def _send_in_order(self, indexes: Sequence[int]) -> None:
        """Send chunk after chunk. Stop after a chunk that can be retried, because later messages would otherwise overtake it."""
        for chunk in self._chunks(indexes):
            await self._send(chunk)
            if any(isinstance(self.answers[index], TransportUnavailable) for index in chunk):
                break
        for index in indexes:
            self.answers.setdefault(index, TransportUnavailable("An earlier message of its group could not be sent."))

    async def _send(self, indexes: Sequence[int]) -> None:
        """Send a chunk in one request, which succeeds or fails as a whole.

        If its content is refused, send the messages one by one.
        """
        try:
            async with self._limit:
                await self._publish([_outgoing(self._messages[index]) for index in indexes])
        except TransportError as error:
            if len(indexes) > 1 and isinstance(error.__cause__, InvalidArgument):
                for index in indexes:
                    await self._send([index])
            else:
                self.answers.update(dict.fromkeys(indexes, error))
        else:
            self.answers.update(dict.fromkeys(indexes))

    def _chunks(self, indexes: Sequence[int]) -> Iterator[list[int]]:
        """Yield chunks that fit into one request."""
        chunk, size = list[int](), 0
        for index in indexes:
            size_of_message = self._messages[index].size + 64  # the framing of a message and its id
            if chunk and (len(chunk) == MAX_MESSAGES or size + size_of_message > MAX_BYTES):
                yield chunk
                chunk, size = [], 0
            chunk.append(index)
            size += size_of_message
        if chunk:
            yield chunk


def _outgoing(message: Message) -> Any:
    return types.PubsubMessage(
        data=message.body.encode(), attributes=dict(message.attributes), ordering_key=message.group or ""
    )
