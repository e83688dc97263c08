"""HTTP client of webhooks: one POST to a checked address, with limits on time and size."""

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from sidelane.callbacks.ssrf import AddressPolicy
from sidelane.callbacks.url import WebhookUrl, parse_url
from sidelane.model.errors import MissingExtra, SidelaneError
from sidelane.model.job import DAY
from sidelane.telemetry.port import Telemetry
from sidelane.telemetry.tracer import SpanKind

if TYPE_CHECKING:
    import httpcore2

    from sidelane.callbacks.network import Connections, Resolve

TIMEOUT = 15.0
"""Seconds for the whole exchange, from the DNS lookup to the end of the response (Standard Webhooks: 15 to 30)."""

MAX_BYTES_READ = 16_384
"""Bytes of a response that are read; a longer one closes its connection."""

MAX_TEXT_LENGTH = 500
"""Characters of a response that are kept for operators."""

TIMEOUT_JITTER = 0.2
"""Part of the timeout that is added at random."""


class NotDelivered(SidelaneError):
    """The receiver did not accept it, and may do so later.

    `retry_after`: the seconds that it asked for, if it did; `response`: its HTTP status, if it answered.
    """

    status = 502

    def __init__(self, message: str, retry_after: float | None = None, response: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.response = response


class EndpointGone(NotDelivered):
    """The receiver answered 410: it no longer accepts callbacks."""

    status = 410


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """Response of a receiver. `text` is the beginning of its body; `retry_after` is in seconds."""

    status: int
    text: str = ""
    retry_after: float | None = None


class WebhookClient:
    """Posts to receivers by the rules for callbacks: checked addresses, no redirects, no proxies, fifteen seconds.

    The client opens with its first POST, and opens again after it was closed, on any event loop.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        resolve: "Resolve | None" = None,
        timeout: float = TIMEOUT,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.policy = policy
        self._telemetry = telemetry or Telemetry()
        self._timeout = timeout
        self._resolve = resolve
        self._connections: Connections | None = None

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, trace: str | None = None
    ) -> HttpResponse:
        """Post a body, and return the response, whatever its status.

        The header `traceparent`, unless it is in `headers`, is that of this request's span, or `trace` without tracing. Raises
        `ArgumentsError` if the URL is invalid, and `NotDelivered` if there is no response. Also raises `AddressRefused` or
        `MissingExtra`.
        """
        receiver, tracer = parse_url(url), self._telemetry.tracer
        sent = {name.lower(): value for name, value in headers.items()}
        with tracer.span(
            f"POST {receiver.authority}", kind=SpanKind.CLIENT, parent=tracer.traceparent or trace
        ) as span:
            if found := span.traceparent or trace:
                sent.setdefault("traceparent", found)
            span.set({"http.request.method": "POST", "url.full": receiver.redacted, "server.address": receiver.host})
            response = await self._post(receiver, body, sent)
            span.set({"http.response.status_code": response.status})
            if response.status >= HTTPStatus.BAD_REQUEST:
                span.fail(f"The receiver answered {response.status}.", str(response.status))
            return response

    async def _post(self, receiver: WebhookUrl, body: bytes, headers: Mapping[str, str]) -> HttpResponse:
        connections = self._open()
        import httpcore2

        broken = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException, OSError)
        # jitter, so that requests that began together do not all time out at the same moment
        seconds = self._timeout * (1 + TIMEOUT_JITTER * random.random())
        try:
            async with asyncio.timeout(seconds), connections.to(receiver) as pool:
                return await _exchange(pool, receiver, body, headers)
        except TimeoutError:
            reason = f"sent no complete response within {self._timeout:g} seconds"
        except broken as error:
            reason = f"could not be reached: {_message(error)}"
        raise NotDelivered(f"{receiver.redacted} {reason}.")  # outside `except`: the library's frames would not help

    async def deliver(
        self, url: str, body: bytes, headers: Mapping[str, str], *, trace: str | None = None
    ) -> HttpResponse:
        """Post a body, and return a response with a status of 200 to 299.

        Raises the errors of `post`, `EndpointGone` if the status is 410, and `NotDelivered` if it is any other, e.g. a redirect.
        """
        response = await self.post(url, body, headers, trace=trace)
        if HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
            return response
        text = f": {response.text}" if response.text else "."
        message = f"{parse_url(url).redacted} answered {response.status}{text}"
        if response.status == HTTPStatus.GONE:
            raise EndpointGone(message, response=response.status)
        raise NotDelivered(message, response.retry_after, response.status)

    async def close(self) -> None:
        """Close all connections."""
        connections, self._connections = self._connections, None
        if connections is not None:
            await connections.close()

    def _open(self) -> "Connections":
        if self._connections is None:
            try:
                from sidelane.callbacks.network import Connections
            except ModuleNotFoundError as error:
                raise MissingExtra("Webhooks need a driver: pip install 'sidelane[webhooks]'.") from error
            self._connections = Connections(self.policy, self._resolve)
        return self._connections


async def _exchange(
    pool: "httpcore2.AsyncConnectionPool", receiver: WebhookUrl, body: bytes, headers: Mapping[str, str]
) -> HttpResponse:
    import httpcore2

    url = httpcore2.URL(scheme=receiver.scheme, host=receiver.host, port=receiver.port, target=receiver.target)
    defaults = {"host": receiver.authority, "user-agent": "Sidelane", "accept": "*/*"}
    fields = [(name.encode("ascii"), value.encode("utf-8")) for name, value in {**defaults, **headers}.items()]
    async with pool.stream("POST", url, headers=fields, content=body) as response:
        read = bytearray()
        async for chunk in response.aiter_stream():
            read += chunk
            if len(read) > MAX_BYTES_READ:
                break
        received = {name.lower(): value.decode("latin-1") for name, value in response.headers}
        return HttpResponse(
            response.status, _text(bytes(read)), retry_after_seconds(received.get(b"retry-after"), time.time())
        )


def retry_after_seconds(retry_after: str | None, now: float) -> float | None:
    """Return a Retry-After (RFC 9110, 10.2.3), seconds or a date, as seconds from `now`, at most a day, or None if invalid."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), DAY)
    from email.utils import parsedate_to_datetime

    try:
        return min(max(0.0, parsedate_to_datetime(text).timestamp() - now), DAY)
    except (ValueError, OverflowError):  # a year of many digits
        return None


def _text(read: bytes) -> str:
    """Return the beginning of a response as printable text."""
    text = " ".join(read[: MAX_TEXT_LENGTH * 4].decode("utf-8", "replace").split())[:MAX_TEXT_LENGTH]
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def _message(error: BaseException) -> str:
    return (str(error) or type(error).__name__).rstrip(".")
