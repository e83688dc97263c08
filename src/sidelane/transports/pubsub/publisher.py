"""Publishing: as many messages in one request as it takes, and each group in its order."""

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
"""Messages and bytes of one request: Pub/Sub takes 10 MB, and something goes to the frame."""

MAX_CONCURRENT = 20
"""Requests under way at a time."""

Publish = Callable[[Sequence[Any]], Awaitable[None]]
"""Sends one request. Raises `TransportUnavailable` and `TransportUnusable`."""


class PublishCall:
    """One call of `send`: its messages, and the answers as they come."""

    def __init__(self, messages: Sequence[Message], publish: Publish) -> None:
        self._messages = messages
        self._publish = publish
        self._turns = asyncio.Semaphore(MAX_CONCURRENT)
        self.answers: dict[int, TransportError | None] = {}

    async def run(self, places: Sequence[int]) -> None:
        """Send the messages at these places, and note an answer for each."""
        groups = defaultdict[str, list[int]](list)
        for place in places:
            groups[self._messages[place].group or ""].append(place)
        free = groups.pop("", [])
        async with asyncio.TaskGroup() as under_way:
            for piece in self._pieces(free):
                under_way.create_task(self._send(piece))
            for group in groups.values():
                under_way.create_task(self._send_in_order(group))

    async def _send_in_order(self, places: Sequence[int]) -> None:
        """Send piece after piece. After one that may be tried again, nothing goes, or it would come after what follows it."""
        for piece in self._pieces(places):
            await self._send(piece)
            if any(isinstance(self.answers[place], TransportUnavailable) for place in piece):
                break
        for place in places:
            self.answers.setdefault(place, TransportUnavailable("An earlier message of its group could not be sent."))

    async def _send(self, places: Sequence[int]) -> None:
        """Send a piece in one request, which goes or fails as a whole; what is refused for what it says, one by one."""
        try:
            async with self._turns:
                await self._publish([_outgoing(self._messages[place]) for place in places])
        except TransportError as error:
            if len(places) > 1 and isinstance(error.__cause__, InvalidArgument):
                for place in places:
                    await self._send([place])
            else:
                self.answers.update(dict.fromkeys(places, error))
        else:
            self.answers.update(dict.fromkeys(places))

    def _pieces(self, places: Sequence[int]) -> Iterator[list[int]]:
        """Cut into what one request takes."""
        piece, size = list[int](), 0
        for place in places:
            more = self._messages[place].size + 64  # the frames of a message and its id
            if piece and (len(piece) == MAX_MESSAGES or size + more > MAX_BYTES):
                yield piece
                piece, size = [], 0
            piece.append(place)
            size += more
        if piece:
            yield piece


def _outgoing(message: Message) -> Any:
    return types.PubsubMessage(
        data=message.body.encode(), attributes=dict(message.attributes), ordering_key=message.group or ""
    )
