"""The way to Google Pub/Sub: credentials, project, channels. Everything is opened at its first use."""

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
    "grpc.keepalive_time_ms": 30_000,  # a connection that died silently is noticed
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 1_000,  # else up to two minutes
    "grpc.min_reconnect_backoff_ms": 5_000,  # which is how long connecting may take, in truth
}

ONE_TRY = 10.0
"""Seconds in which one call must be answered."""

TRYING = AsyncRetry(
    predicate=if_exception_type(
        exceptions.Aborted, exceptions.InternalServerError, exceptions.ServiceUnavailable, exceptions.Unknown
    ),
    initial=0.1,
    multiplier=2.0,
    maximum=1.0,
    timeout=2.0,
)
"""How a call is tried again: long enough for a connection that was cut. What lasts longer is for the caller to know."""


class Connection:
    """Clients for one address, made when they are asked for, on the event loop that asks. Raises what Google's clients raise."""

    def __init__(self, project: str | None, endpoint: str | None) -> None:
        self._project = project
        self._endpoint = endpoint
        self._credentials: Any = None
        self._publisher: PublisherAsyncClient | None = None
        self._subscriber: SubscriberAsyncClient | None = None
        self._opening = asyncio.Lock()

    async def publisher(self) -> PublisherAsyncClient:
        async with self._opening:
            if self._publisher is None:
                transport = self._transport(PublisherGrpcAsyncIOTransport, await self._identity())
                self._publisher = PublisherAsyncClient(transport=transport)
            return self._publisher

    async def subscriber(self) -> SubscriberAsyncClient:
        async with self._opening:
            if self._subscriber is None:
                transport = self._transport(SubscriberGrpcAsyncIOTransport, await self._identity())
                self._subscriber = SubscriberAsyncClient(transport=transport)
            return self._subscriber

    async def path(self, collection: str, name: str) -> str:
        """Give the full path of a topic or subscription. Raises `TransportUnusable` where no project is known."""
        if "/" in name:
            return name
        async with self._opening:
            await self._identity()
        if not self._project:
            raise TransportMisconfigured(
                f"No project is known for Pub/Sub's {collection}/{name}: give `project`, the full path, or set "
                "GOOGLE_CLOUD_PROJECT."
            )
        return f"projects/{self._project}/{collection}/{name}"

    async def close(self) -> None:
        """Close the channels. What is used after that is opened again."""
        publisher, self._publisher = self._publisher, None
        subscriber, self._subscriber = self._subscriber, None
        for client in (publisher, subscriber):
            if client is not None:
                await client.transport.close()  # type: ignore[no-untyped-call]  # Google's

    async def _identity(self) -> Any:
        """Find the credentials, and with them the project. May read files and ask the metadata server."""
        if self._credentials is None:
            if os.environ.get(EMULATOR):
                self._credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]  # Google's
                project = os.environ.get("GOOGLE_CLOUD_PROJECT") or os.environ.get("PUBSUB_PROJECT_ID")
            else:
                self._credentials, project = await asyncio.to_thread(google.auth.default, scopes=SCOPES)
            self._project = self._project or project
        return self._credentials

    def _transport(self, kind: Any, credentials: Any) -> Any:
        def channel(host: str, **given: Any) -> Any:
            given["options"] = list({**dict(given.get("options", ())), **CHANNEL}.items())
            emulator = os.environ.get(EMULATOR)
            if emulator:
                return grpc.aio.insecure_channel(emulator, options=given["options"])
            return kind.create_channel(host, **given)

        place = {"host": self._endpoint} if self._endpoint else {}
        return kind(credentials=credentials, channel=channel, **place)
