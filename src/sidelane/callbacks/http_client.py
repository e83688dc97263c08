"""The poster: sends one POST to a receiver outside, within bounds, and says how it was taken."""

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from sidelane.callbacks.resolver import Resolve, Resolver
from sidelane.callbacks.ssrf import AddressPolicy
from sidelane.callbacks.url import WebhookUrl, parse_url
from sidelane.model.errors import MissingExtra, SidelaneError
from sidelane.model.job import DAY

if TYPE_CHECKING:
    import httpcore2

    from sidelane.callbacks.network import Connections

TIMEOUT = 15.0
"""Seconds for the whole exchange, from the look-up of the host to the end of the answer (Standard Webhooks: 15 to 30)."""

MAX_BYTES_READ = 16_384
"""Bytes of an answer that are read; with more than that its connection is closed."""

MAX_BYTES_SHOWN = 500
"""Characters of an answer that are kept for operators."""

TIMEOUT_JITTER = 0.2
"""By how much of that time an exchange may last longer."""


class NotDelivered(SidelaneError):
    """The receiver did not take it, and may do so later. `retry_after`: the seconds it asked for, where it did."""

    status = 502

    def __init__(self, said: str, retry_after: float | None = None) -> None:
        super().__init__(said)
        self.retry_after = retry_after


class EndpointGone(NotDelivered):
    """The receiver answered 410: it does not want to hear of it any more."""

    status = 410


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """How a receiver answered. `text` is the beginning of what it said; `retry_after` in seconds."""

    status: int
    text: str = ""
    retry_after: float | None = None


class WebhookClient:
    """Posts to receivers by the rules for callbacks: checked addresses, no redirects, no proxies, fifteen seconds.

    It opens with its first POST and again after it was closed, on whichever event loop.
    """

    def __init__(self, reach: AddressPolicy, *, resolve: Resolve | None = None, timeout: float = TIMEOUT) -> None:
        self.reach = reach
        self._timeout = timeout
        self._resolver = Resolver()
        self._resolve = resolve or self._resolver
        self._connections: Connections | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> HttpResponse:
        """Post a body, and give the answer, whatever its status.

        Raises `NotDelivered` where there is none, `AddressRefused`, `ArgumentsError` on a URL that is none, `MissingExtra`.
        """
        receiver = parse_url(url)
        connections = self._opened()
        import httpcore2

        broken = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException, OSError)
        # some are given a little more, so that those which began together are not all given up at the same moment
        seconds = self._timeout * (1 + TIMEOUT_JITTER * random.random())
        try:
            async with asyncio.timeout(seconds), connections.to(receiver) as pool:
                return await _exchange(pool, receiver, body, headers)
        except TimeoutError:
            said = f"gave no whole answer within {self._timeout:g} seconds"
        except broken as error:
            said = f"could not be reached: {_words(error)}"
        raise NotDelivered(f"{receiver.shown} {said}.")  # the library's own frames would tell nobody more

    async def deliver(self, url: str, body: bytes, headers: Mapping[str, str]) -> HttpResponse:
        """Post a body to a receiver that takes it: with a status of 200 to 299.

        Raises as `post` does, `ReceiverGone` on 410, and `NotDelivered` on all other answers, redirects among them.
        """
        answer = await self.post(url, body, headers)
        if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return answer
        said = f": {answer.text}" if answer.text else "."
        words = f"{parse_url(url).shown} answered {answer.status}{said}"
        if answer.status == HTTPStatus.GONE:
            raise EndpointGone(words)
        raise NotDelivered(words, answer.retry_after)

    async def close(self) -> None:
        """Close its connections."""
        connections, self._connections = self._connections, None
        if connections is not None:
            await connections.close()
        self._resolver.close()

    def _opened(self) -> "Connections":
        if self._connections is None:
            try:
                from sidelane.callbacks.network import Connections
            except ModuleNotFoundError as error:
                raise MissingExtra("Webhooks need a driver: pip install 'sidelane[webhooks]'.") from error
            self._connections = Connections(self.reach, self._resolve)
        return self._connections


async def _exchange(
    pool: "httpcore2.AsyncConnectionPool", receiver: WebhookUrl, body: bytes, headers: Mapping[str, str]
) -> HttpResponse:
    import httpcore2

    url = httpcore2.URL(scheme=receiver.scheme, host=receiver.host, port=receiver.port, target=receiver.target)
    ours = {"host": receiver.authority, "user-agent": "Sidelane", "accept": "*/*"}
    sent = {**ours, **{name.lower(): value for name, value in headers.items()}}
    fields = [(name.encode("ascii"), value.encode("utf-8")) for name, value in sent.items()]
    async with pool.stream("POST", url, headers=fields, content=body) as response:
        read = bytearray()
        async for piece in response.aiter_stream():
            read += piece
            if len(read) > MAX_BYTES_READ:
                break
        said = {name.lower(): value.decode("latin-1") for name, value in response.headers}
        return HttpResponse(response.status, _text(bytes(read)), seconds_of(said.get(b"retry-after"), time.time()))


def seconds_of(retry_after: str | None, now: float) -> float | None:
    """Read Retry-After (RFC 9110, 10.2.3), seconds or a date, as seconds from `now`, a day at most; None where it says nothing."""
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
    """Give the beginning of an answer as printable text."""
    text = " ".join(read[: MAX_BYTES_SHOWN * 4].decode("utf-8", "replace").split())[:MAX_BYTES_SHOWN]
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def _words(error: BaseException) -> str:
    return (str(error) or type(error).__name__).rstrip(".")
