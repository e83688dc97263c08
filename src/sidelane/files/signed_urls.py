"""Links of our own to files in a folder: what they allow, for how long, signed."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Literal

from sidelane.model.errors import UnknownFile

PURPOSE = b"sidelane-files:"

Verb = Literal["GET", "PUT"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlGrant:
    """What a link allows: to get, or to put, one file of this name and type, of at most `most` bytes, until a time."""

    verb: Verb
    file: str
    name: str
    type: str
    until: float
    most: int | None = None


class UrlSigner:
    """Makes links and checks them; `secret` gives what they are signed by."""

    def __init__(self, secret: Callable[[], Awaitable[bytes]]) -> None:
        self._secret = secret

    async def token(self, grant: UrlGrant) -> str:
        """Write a grant so that it cannot be forged."""
        text = _encoded(json.dumps(asdict(grant), separators=(",", ":")).encode())
        return f"{text}.{await self._signature(text)}"

    async def check(self, verb: Verb, token: str) -> UrlGrant:
        """Read a grant back. Raises `UnknownFile` when it is forged, has expired, or allows something else."""
        text, _, signature = token.partition(".")
        if not hmac.compare_digest(signature.encode(), (await self._signature(text)).encode()):
            raise UnknownFile("There is no such link to a file.")
        grant = UrlGrant(**json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))
        if grant.verb != verb or grant.until < time.time():
            raise UnknownFile("This link to a file has expired.")
        return grant

    async def _signature(self, text: str) -> str:
        return _encoded(hmac.new(await self._secret(), PURPOSE + text.encode(), hashlib.sha256).digest())


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
