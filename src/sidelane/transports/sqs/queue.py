"""SQS queue: its URL and attributes, and requests in batches of ten."""

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
from sidelane.telemetry.events import MessageAction, MessagesHandled
from sidelane.telemetry.port import Telemetry
from sidelane.transports.endpoints import Sqs
from sidelane.transports.sqs import codec
from sidelane.transports.sqs.errors import entry_error, translated_errors

MAX_BATCH = 10
"""Maximum messages of one request."""

MAX_SIZE = 1_048_576
"""Maximum bytes of a message and of a request (since August 2025)."""

LEGACY_MAX_SIZE = 262_144
"""Maximum bytes of a message in queues that were created before August 2025, or by tools that still set this limit."""

MAX_RETENTION = 14 * 86_400.0
"""Maximum seconds that a queue keeps a message."""

PAID_SIZE = 65_536
"""Bytes of a request that SQS charges for as one request. A larger one costs as much as several."""

LONG_POLL = 20
"""Seconds that one request waits for messages, which is the maximum of SQS."""

CALL_TIMEOUT = 15.0
"""Seconds of any other request."""

_HOST = re.compile(r"sqs\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?")


class SqsQueue:
    """One connected queue. Every method may raise `TransportUnavailable` or `TransportMisconfigured`."""

    def __init__(
        self,
        endpoint: Sqs,
        client: Any,
        url: str,
        *,
        attributes: Mapping[str, str],
        resources: AsyncExitStack,
        telemetry: Telemetry,
    ) -> None:
        self.endpoint = endpoint
        self._telemetry = telemetry
        self.max_message_size = int(attributes.get("MaximumMessageSize", MAX_SIZE))
        self.retention = float(attributes.get("MessageRetentionPeriod", MAX_RETENTION))
        self.dead_letters = endpoint.dead_letters or _redrive_target(url, attributes.get("RedrivePolicy"))
        self._client = client
        self._url = url
        self._fifo = url.endswith(".fifo")
        self._resources = resources
        self.send = CallCoalescer(self._send, limit=MAX_BATCH, ordered=self._fifo)
        self.delete = CallCoalescer(self._delete, limit=MAX_BATCH)
        self.change = CallCoalescer(self._change, limit=MAX_BATCH)

    async def receive(self, limit: int, visibility_timeout: float) -> list[Mapping[str, Any]]:
        """Wait for up to `limit` messages, which are invisible to other receivers for `visibility_timeout` seconds."""
        with translated_errors(self.endpoint):
            answer = await self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=min(limit, MAX_BATCH),
                WaitTimeSeconds=LONG_POLL,
                VisibilityTimeout=math.ceil(visibility_timeout),
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["ApproximateReceiveCount", "MessageGroupId"],
            )
        messages = cast(list[Mapping[str, Any]], answer.get("Messages", []))
        if self._telemetry.wants(MessagesHandled):
            size = sum(len(message["Body"].encode()) for message in messages)
            self._report(MessageAction.RECEIVED, len(messages), size)
        return messages

    async def close(self) -> None:
        await self._resources.aclose()

    async def _send(self, messages: Sequence[Message]) -> list[TransportError | None]:
        """Send messages, and return an answer for each message."""
        answers: dict[str, TransportError] = {}
        entries = []
        for index, message in enumerate(messages):
            try:
                entries.append({"Id": str(index), **self._entry(message)})
            except TransportError as error:
                answers[str(index)] = error
        for chunk in _chunks(entries):
            answers |= await self._send_chunk(chunk)
        return [answers.get(str(index)) for index in range(len(messages))]

    def _entry(self, message: Message) -> dict[str, Any]:
        entry = codec.to_entry(message, fifo=self._fifo)
        size = codec.size(entry)
        if size > self.max_message_size:
            raise TransportMisconfigured(
                f"The message has {size:,} bytes with its attributes; {self.endpoint} accepts at most {self.max_message_size:,}."
            )
        return entry

    async def _send_chunk(self, entries: list[dict[str, Any]]) -> dict[str, TransportError]:
        try:
            return await self._batch("send_message_batch", entries, MessageAction.SENT)
        except TransportMisconfigured as error:
            if len(entries) == 1:
                return {entries[0]["Id"]: error}
            answers: dict[str, TransportError] = {}
            for entry in entries:  # one bad message must not block the others
                answers |= await self._send_chunk([entry])
            return answers
        except TransportError as error:
            return {entry["Id"]: error for entry in entries}

    async def _delete(self, handles: Sequence[str]) -> list[TransportError | None]:
        entries = [{"ReceiptHandle": handle} for handle in handles]
        return await self._check_batch("delete_message_batch", entries, MessageAction.DELETED)

    async def _change(self, changes: Sequence[tuple[str, int]]) -> list[TransportError | None]:
        """Set the visibility timeout of messages."""
        entries = [{"ReceiptHandle": handle, "VisibilityTimeout": seconds} for handle, seconds in changes]
        return await self._check_batch("change_message_visibility_batch", entries, MessageAction.EXTENDED)

    async def _check_batch(
        self, operation: str, entries: list[dict[str, Any]], action: MessageAction
    ) -> list[TransportError | None]:
        numbered = [{"Id": str(index), **entry} for index, entry in enumerate(entries)]
        answers = await self._batch(operation, numbered, action)
        # SQS refuses entries whose visibility timeout has ended: this is no error, as they are delivered again
        unavailable = {name: error for name, error in answers.items() if not isinstance(error, TransportMisconfigured)}
        return [unavailable.get(entry["Id"]) for entry in numbered]

    async def _batch(
        self, operation: str, entries: list[dict[str, Any]], action: MessageAction
    ) -> dict[str, TransportError]:
        """Send a request, and return the errors of single entries by their ids."""
        with translated_errors(self.endpoint):
            async with asyncio.timeout(CALL_TIMEOUT):
                answer = await getattr(self._client, operation)(QueueUrl=self._url, Entries=entries)
        failed = {each["Id"]: entry_error(self.endpoint, each) for each in answer.get("Failed", ())}
        if self._telemetry.wants(MessagesHandled):
            size = sum(map(codec.size, entries)) if action is MessageAction.SENT else 0
            self._report(action, len(entries) - len(failed), size)
        return failed

    def _report(self, action: MessageAction, count: int, size: int) -> None:
        """Report one request. Each 64 KiB of it is charged as a request."""
        requests = max(1, math.ceil(size / PAID_SIZE))
        self._telemetry.report(
            MessagesHandled(endpoint=str(self.endpoint), action=action, count=count, requests=requests, bytes=size)
        )


async def connect(endpoint: Sqs, telemetry: Telemetry) -> SqsQueue:
    """Connect to a queue, whose requests are reported to `telemetry`. Raises `TransportUnavailable` or `TransportMisconfigured`."""
    region, endpoint_url = _location(endpoint)
    async with AsyncExitStack() as stack:
        with translated_errors(endpoint):
            session = await asyncio.to_thread(_session)  # it takes too long for the event loop
            client = await stack.enter_async_context(
                session.create_client(
                    "sqs",
                    region_name=region,
                    endpoint_url=endpoint_url,
                    config=AioConfig(
                        connect_timeout=5,
                        read_timeout=LONG_POLL + 10,
                        max_pool_connections=50,
                        retries={"mode": "standard", "total_max_attempts": 2},  # callers retry too
                    ),
                )
            )
            by_name = "://" not in endpoint.queue
            async with asyncio.timeout(CALL_TIMEOUT):
                url = (await client.get_queue_url(QueueName=endpoint.queue))["QueueUrl"] if by_name else endpoint.queue
                attributes = await _attributes(client, url)
        return SqsQueue(endpoint, client, url, attributes=attributes, resources=stack.pop_all(), telemetry=telemetry)


def _session() -> Any:
    """Return a new session for one client, because a session's state, e.g. credentials, must not outlive its event loop."""
    session = get_session()
    session.register_component("data_loader", _descriptions(session.get_config_variable("data_path")))
    return session


@cache
def _descriptions(path: str | None) -> Any:
    """Load botocore's description of SQS only once, because this takes a tenth of a second."""
    loader = create_loader(path)
    loader.load_data_with_path("endpoints")
    for kind in ("service-2", "endpoint-rule-set-1"):
        loader.load_service_model("sqs", kind)
    return loader


async def _attributes(client: Any, url: str) -> Mapping[str, str]:
    """Return the attributes of a queue. Without the permission, there are no attributes, and the limits of SQS apply."""
    names = ["MaximumMessageSize", "MessageRetentionPeriod", "RedrivePolicy"]
    try:
        answer = await client.get_queue_attributes(QueueUrl=url, AttributeNames=names)
    except ClientError as error:
        if "AccessDenied" in error.response["Error"]["Code"]:
            return {}
        raise
    return cast(Mapping[str, str], answer.get("Attributes", {}))


def _location(endpoint: Sqs) -> tuple[str | None, str | None]:
    """Return region and endpoint URL if they are known, because the URL of a queue contains both."""
    region = endpoint.region or os.environ.get("AWS_REGION")  # botocore itself reads AWS_DEFAULT_REGION only
    if "://" not in endpoint.queue:
        return region, endpoint.endpoint_url
    url = urlsplit(endpoint.queue)
    found = _HOST.fullmatch(url.hostname or "")
    if found:
        return endpoint.region or found[1], endpoint.endpoint_url
    return region, endpoint.endpoint_url or f"{url.scheme}://{url.netloc}"


def _redrive_target(url: str, policy: str | None) -> str | None:
    """Return the URL of the queue that a redrive policy names, which is in the same account and region."""
    if not policy:
        return None
    arn = str(json.loads(policy).get("deadLetterTargetArn", ""))
    return f"{url.rpartition('/')[0]}/{arn.rpartition(':')[2]}"


def _chunks(entries: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield chunks that fit into one request."""
    chunk: list[dict[str, Any]] = []
    size_of_chunk = 0
    for entry in entries:
        size = codec.size(entry)
        if chunk and size_of_chunk + size > MAX_SIZE:
            yield chunk
            chunk, size_of_chunk = [], 0
        chunk.append(entry)
        size_of_chunk += size
    if chunk:
        yield chunk
