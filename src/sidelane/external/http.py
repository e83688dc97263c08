"""HTTP endpoint of external workers: one POST per dispatch, signed if a secret is named."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import KW_ONLY, dataclass, field
from http import HTTPStatus
from importlib.util import find_spec
from sys import maxsize
from typing import Literal

from sidelane.callbacks.http_client import NotDelivered, WebhookClient
from sidelane.callbacks.signing import Secrets, webhook_headers
from sidelane.callbacks.url import parse_url
from sidelane.callbacks.webhook import check_headers
from sidelane.model.errors import (
    ArgumentsError,
    ConfigurationError,
    MissingExtra,
    TransportError,
    TransportMisconfigured,
)
from sidelane.model.message import Message
from sidelane.telemetry.port import Telemetry
from sidelane.transports.contract import VISIBILITY_TIMEOUT, Receiver, Transport

RETRYABLE_STATUSES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
"""Statuses from 400 to 499 after which another attempt may help."""


@dataclass(frozen=True, slots=True)
class Http:
    """A URL that accepts dispatched jobs by POST. Any status from 200 to 299 means that the job was accepted.

    `secret` names the secret that signs the requests by Standard Webhooks 1.0. `headers` are added to each request. Raises
    `ConfigurationError`.
    """

    url: str
    _: KW_ONLY
    secret: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    kind: Literal["http"] = "http"

    def __post_init__(self) -> None:
        try:
            parse_url(self.url)
            check_headers(self.headers)
        except ArgumentsError as error:
            raise ConfigurationError(f"Http(…): {error}") from error

    def __str__(self) -> str:
        return parse_url(self.url).redacted

    can_send = True
    can_receive = False

    def require_driver(self) -> None:
        if find_spec("httpcore2") is None:
            raise MissingExtra(f"{self} needs a driver: pip install 'sidelane[webhooks]'.")

    def open(self, telemetry: Telemetry) -> Transport:
        raise ConfigurationError(f"{self} is opened by a lane, which has the HTTP client and the secrets.")


class HttpTransport:
    """Sends messages to one URL."""

    max_message_size = maxsize
    redelivery_window = 0.0

    def __init__(self, webhooks: WebhookClient, secrets: Secrets, endpoint: Http) -> None:
        self._webhooks = webhooks
        self._secrets = secrets
        self._endpoint = endpoint

    async def connect(self) -> None:
        """Do nothing, because the POST opens connections."""

    async def send(self, messages: Sequence[Message]) -> list[TransportError | None]:
        """POST each message.

        Raises `NotDelivered` if another attempt may help, and `TransportMisconfigured` if the answer is final. Also raises
        `AddressRefused`, `SecretError` or `MissingExtra`.
        """
        for message in messages:
            await self._post(message)
        return [None] * len(messages)

    def open_receiver(self, *, visibility_timeout: float = VISIBILITY_TIMEOUT) -> AbstractAsyncContextManager[Receiver]:
        raise TransportMisconfigured(f"{self._endpoint} cannot be received from.")

    async def close(self) -> None:
        """Do nothing, because the lane closes its HTTP client."""

    async def _post(self, message: Message) -> None:
        endpoint = self._endpoint
        secrets = await self._secrets.get(endpoint.secret) if endpoint.secret else []
        headers = {
            "content-type": message.attributes.get("content-type", "text/plain; charset=utf-8"),
            **webhook_headers(message.id, message.body, secrets),
            **endpoint.headers,
        }
        try:
            await self._webhooks.deliver(endpoint.url, message.body.encode(), headers, trace=message.traceparent)
        except NotDelivered as error:
            if error.response in range(400, 500) and error.response not in RETRYABLE_STATUSES:
                raise TransportMisconfigured(str(error)) from error
            raise
