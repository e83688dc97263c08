"""Connection to Google Pub/Sub: credentials, project, channels. Each is opened at its first use."""

import asyncio
import os
from typing import Any

import google.auth
import grpc
from google.api_core import exceptions
from google.api_core.retry_async import AsyncRetry, if_exception_type
from google.auth.credentials import AnonymousCredentials
from google.pubsub_v1.services.publisher import PublisherAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.services.subscriber import SubscriberAsyncClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from sidelane.model.errors import TransportMisconfigured

EMULATOR = "PUBSUB_EMULATOR_HOST"
SCOPES = ("https://www.googleapis.com/auth/pubsub",)

CHANNEL = {
    "grpc.max_send_message_length": -1,
    "grpc.max_receive_message_length": -1,
    "grpc.keepalive_time_ms": 30_000,  # detects a dead connection
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 1_000,  # else up to two minutes
    "grpc.min_reconnect_backoff_ms": 5_000,  # in effect the timeout of connecting
}

CALL_TIMEOUT = 10.0
"""Seconds of one call."""

RETRY = AsyncRetry(
    predicate=if_exception_type(
        exceptions.Aborted, exceptions.InternalServerError, exceptions.ServiceUnavailable, exceptions.Unknown
    ),
    initial=0.1,
    multiplier=2.0,
    maximum=1.0,
    timeout=2.0,
)
"""Retries of a call, which are sufficient for a broken connection. The caller handles longer outages."""


class Connection:
    """Clients of one endpoint, created on the event loop of their first use. Raises what Google's clients raise."""

    def __init__(self, project: str | None, endpoint: str | None) -> None:
        self._project = project
        self._endpoint = endpoint
        self._credentials: Any = None
        self._publisher: PublisherAsyncClient | None = None
        self._subscriber: SubscriberAsyncClient | None = None
        self._lock = asyncio.Lock()

    async def publisher(self) -> PublisherAsyncClient:
        async with self._lock:
            if self._publisher is None:
                transport = self._transport(PublisherGrpcAsyncIOTransport, await self._identity())
                self._publisher = PublisherAsyncClient(transport=transport)
            return self._publisher

    async def subscriber(self) -> SubscriberAsyncClient:
        async with self._lock:
            if self._subscriber is None:
                transport = self._transport(SubscriberGrpcAsyncIOTransport, await self._identity())
                self._subscriber = SubscriberAsyncClient(transport=transport)
            return self._subscriber

    async def path(self, collection: str, name: str) -> str:
        """Return the full path of a topic or subscription. Raises `TransportMisconfigured` if no project is known."""
        if "/" in name:
            return name
        async with self._lock:
            await self._identity()
        if not self._project:
            raise TransportMisconfigured(
                f"No project is known for Pub/Sub's {collection}/{name}: add project=…, write the full path, or set "
                "GOOGLE_CLOUD_PROJECT."
            )
        return f"projects/{self._project}/{collection}/{name}"

    async def close(self) -> None:
        """Close the channels. Channels that are used after that are opened again."""
        publisher, self._publisher = self._publisher, None
        subscriber, self._subscriber = self._subscriber, None
        for client in (publisher, subscriber):
            if client is not None:
                await client.transport.close()  # type: ignore[no-untyped-call]  # Google's

    async def _identity(self) -> Any:
        """Return the credentials, and set the project. This may read files and query the metadata server."""
        if self._credentials is None:
            if os.environ.get(EMULATOR):
                self._credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]  # Google's
                project = os.environ.get("GOOGLE_CLOUD_PROJECT") or os.environ.get("PUBSUB_PROJECT_ID")
            else:
                self._credentials, project = await asyncio.to_thread(google.auth.default, scopes=SCOPES)
            self._project = self._project or project
        return self._credentials

    def _transport(self, kind: Any, credentials: Any) -> Any:
        def channel(host: str, **kwargs: Any) -> Any:
            kwargs["options"] = list({**dict(kwargs.get("options", ())), **CHANNEL}.items())
            emulator = os.environ.get(EMULATOR)
            if emulator:
                return grpc.aio.insecure_channel(emulator, options=kwargs["options"])
            return kind.create_channel(host, **kwargs)

        host = {"host": self._endpoint} if self._endpoint else {}
        return kind(credentials=credentials, channel=channel, **host)
