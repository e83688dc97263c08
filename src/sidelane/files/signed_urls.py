"""Signed URLs of files in a folder: a token that allows one request until it expires."""

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Literal

from sidelane.model.errors import UnknownFile
from sidelane.model.signing import decode_base64url, encode_base64url, is_signature, sign

PREFIX = "sidelane-files:"
"""Prefix of the signed text."""

Verb = Literal["GET", "PUT"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlGrant:
    """The request that a URL allows: a GET or PUT of one file of this name and type, of at most `max_bytes` bytes, until a time."""

    verb: Verb
    file: str
    name: str
    type: str
    until: float
    max_bytes: int | None = None


class UrlSigner:
    """Creates and checks tokens. `secret` returns the signing key."""

    def __init__(self, secret: Callable[[], Awaitable[bytes]]) -> None:
        self._secret = secret

    async def token(self, grant: UrlGrant) -> str:
        """Return a grant as a signed token."""
        text = encode_base64url(json.dumps(asdict(grant), separators=(",", ":")).encode())
        return f"{text}.{sign(await self._secret(), PREFIX + text)}"

    async def check(self, verb: Verb, token: str) -> UrlGrant:
        """Return the grant of a token. Raises `UnknownFile` if the token is forged, has expired, or allows another request."""
        text, _, signature = token.partition(".")
        if not is_signature(await self._secret(), PREFIX + text, signature):
            raise UnknownFile("There is no such link to a file.")
        grant = UrlGrant(**json.loads(decode_base64url(text)))
        if grant.verb != verb or grant.until < time.time():
            raise UnknownFile("This link to a file has expired.")
        return grant
