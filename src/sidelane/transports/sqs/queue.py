"""One queue, reached: its URL, what it says of itself, and calls on it, joined by tens."""

import asyncio
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import cache
from typing import Any, cast
from urllib.parse import urlsplit

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError
from botocore.loaders import create_loader

from sidelane.coalescing import CallCoalescer
from sidelane.model.errors import TransportError, TransportMisconfigured
from sidelane.model.message import Message
from sidelane.transports.endpoints import Sqs
from sidelane.transports.sqs import codec
from sidelane.transports.sqs.errors import failed, translated

MAX_BATCH = 10
"""How many messages one call may carry."""

LARGEST = 1_048_576
"""How many bytes SQS takes at most, in one message and in one call (since August 2025)."""

LEGACY_MAX_SIZE = 262_144
"""How many bytes a message may have in queues that were made before that, or by tools that still say so."""

RETENTION = 14 * 86_400.0
"""How long a queue may keep a message at most, in seconds."""

WAIT = 20
"""How long one call waits for messages, in seconds: the longest that SQS allows."""

CALL_TIMEOUT = 15.0
"""How long anything else may take, in seconds."""

_HOST = re.compile(r"sqs\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?")


class SqsQueue:
    """One queue, reached. All raise `TransportUnavailable` and `TransportUnusable`."""

    def __init__(self, address: Sqs, client: Any, url: str, told: Mapping[str, str], resources: AsyncExitStack) -> None:
        self.address = address
        self.largest = int(told.get("MaximumMessageSize", LARGEST))
        self.retention = float(told.get("MessageRetentionPeriod", RETENTION))
        self.dead_letters = address.dead_letters or _redrive_target(url, told.get("RedrivePolicy"))
        self._client = client
        self._url = url
        self._fifo = url.endswith(".fifo")
        self._resources = resources
        self.send = CallCoalescer(self._send, limit=MAX_BATCH, ordered=self._fifo)
        self.delete = CallCoalescer(self._delete, limit=MAX_BATCH)
        self.change = CallCoalescer(self._change, limit=MAX_BATCH)

    async def receive(self, limit: int, hold: float) -> list[Mapping[str, Any]]:
        """Wait for up to `limit` messages, none of which anybody else gets for `hold` seconds."""
        with translated(self.address):
            answer = await self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=min(limit, MAX_BATCH),
                WaitTimeSeconds=WAIT,
                VisibilityTimeout=math.ceil(hold),
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["ApproximateReceiveCount", "MessageGroupId"],
            )
        return cast(list[Mapping[str, Any]], answer.get("Messages", []))

    async def close(self) -> None:
        await self._resources.aclose()

    async def _send(self, messages: Sequence[Message]) -> list[TransportError | None]:
        """Send messages; each has its own answer."""
        answers: dict[str, TransportError] = {}
        entries = []
        for place, message in enumerate(messages):
            try:
                entries.append({"Id": str(place), **self._entry(message)})
            except TransportError as error:
                answers[str(place)] = error
        for piece in _pieces(entries):
            answers |= await self._send_piece(piece)
        return [answers.get(str(place)) for place in range(len(messages))]

    def _entry(self, message: Message) -> dict[str, Any]:
        entry = codec.to_entry(message, fifo=self._fifo)
        size = codec.size(entry)
        if size > self.largest:
            raise TransportMisconfigured(
                f"The message has {size:,} bytes, its attributes included; {self.address} takes at most {self.largest:,}."
            )
        return entry

    async def _send_piece(self, entries: list[dict[str, Any]]) -> dict[str, TransportError]:
        try:
            return await self._batch("send_message_batch", entries)
        except TransportMisconfigured as error:
            if len(entries) == 1:
                return {entries[0]["Id"]: error}
            answers: dict[str, TransportError] = {}
            for entry in entries:  # one that nothing takes must not keep the others
                answers |= await self._send_piece([entry])
            return answers
        except TransportError as error:
            return {entry["Id"]: error for entry in entries}

    async def _delete(self, handles: Sequence[str]) -> list[TransportError | None]:
        return await self._settle("delete_message_batch", [{"ReceiptHandle": handle} for handle in handles])

    async def _change(self, changes: Sequence[tuple[str, int]]) -> list[TransportError | None]:
        """Let messages come again in so many seconds."""
        entries = [{"ReceiptHandle": handle, "VisibilityTimeout": seconds} for handle, seconds in changes]
        return await self._settle("change_message_visibility_batch", entries)

    async def _settle(self, operation: str, entries: list[dict[str, Any]]) -> list[TransportError | None]:
        numbered = [{"Id": str(place), **entry} for place, entry in enumerate(entries)]
        answers = await self._batch(operation, numbered)
        # of single entries SQS says that they are no longer the caller's: that changes nothing, and is no error
        passing = {name: error for name, error in answers.items() if not isinstance(error, TransportMisconfigured)}
        return [passing.get(entry["Id"]) for entry in numbered]

    async def _batch(self, operation: str, entries: list[dict[str, Any]]) -> dict[str, TransportError]:
        """Call, and give the errors of single entries by their ids."""
        with translated(self.address):
            async with asyncio.timeout(CALL_TIMEOUT):
                answer = await getattr(self._client, operation)(QueueUrl=self._url, Entries=entries)
        return {each["Id"]: failed(self.address, each) for each in answer.get("Failed", ())}


async def connect(address: Sqs) -> SqsQueue:
    """Reach a queue. Raises `TransportUnavailable` and `TransportUnusable`."""
    region, endpoint = _place(address)
    async with AsyncExitStack() as stack:
        with translated(address):
            session = await asyncio.to_thread(_session)  # an event loop must not stand still for so long
            client = await stack.enter_async_context(
                session.create_client(
                    "sqs",
                    region_name=region,
                    endpoint_url=endpoint,
                    config=AioConfig(
                        connect_timeout=5,
                        read_timeout=WAIT + 10,
                        max_pool_connections=50,
                        retries={"mode": "standard", "total_max_attempts": 2},  # whoever calls us tries again too
                    ),
                )
            )
            named = "://" not in address.queue
            async with asyncio.timeout(CALL_TIMEOUT):
                url = (await client.get_queue_url(QueueName=address.queue))["QueueUrl"] if named else address.queue
                told = await _told(client, url)
        return SqsQueue(address, client, url, told, stack.pop_all())


def _session() -> Any:
    """Make a session of its own for one client: what it finds, credentials too, must not outlive its event loop."""
    session = get_session()
    session.register_component("data_loader", _descriptions(session.get_config_variable("data_path")))
    return session


@cache
def _descriptions(path: str | None) -> Any:
    """Load what botocore knows of SQS, once: it takes a tenth of a second."""
    loader = create_loader(path)
    loader.load_data_with_path("endpoints")
    for kind in ("service-2", "endpoint-rule-set-1"):
        loader.load_service_model("sqs", kind)
    return loader


async def _told(client: Any, url: str) -> Mapping[str, str]:
    """Ask a queue for what it is set to. Who may not ask gets nothing, and what SQS allows counts."""
    names = ["MaximumMessageSize", "MessageRetentionPeriod", "RedrivePolicy"]
    try:
        answer = await client.get_queue_attributes(QueueUrl=url, AttributeNames=names)
    except ClientError as error:
        if "AccessDenied" in error.response["Error"]["Code"]:
            return {}
        raise
    return cast(Mapping[str, str], answer.get("Attributes", {}))


def _place(address: Sqs) -> tuple[str | None, str | None]:
    """Give region and endpoint, as far as the address says them: the URL of a queue says both."""
    region = address.region or os.environ.get("AWS_REGION")  # botocore itself looks for AWS_DEFAULT_REGION alone
    if "://" not in address.queue:
        return region, address.endpoint_url
    url = urlsplit(address.queue)
    found = _HOST.fullmatch(url.hostname or "")
    if found:
        return address.region or found[1], address.endpoint_url
    return region, address.endpoint_url or f"{url.scheme}://{url.netloc}"


def _redrive_target(url: str, policy: str | None) -> str | None:
    """Give the URL of the queue that a redrive policy names, which lies beside its own."""
    if not policy:
        return None
    arn = str(json.loads(policy).get("deadLetterTargetArn", ""))
    return f"{url.rpartition('/')[0]}/{arn.rpartition(':')[2]}"


def _pieces(entries: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Cut what one call must not carry together."""
    piece: list[dict[str, Any]] = []
    filled = 0
    for entry in entries:
        size = codec.size(entry)
        if piece and filled + size > LARGEST:
            yield piece
            piece, filled = [], 0
        piece.append(entry)
        filled += size
    if piece:
        yield piece
