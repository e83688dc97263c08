"""Signed URLs of files in a folder: a token that allows one request until it expires."""

import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Literal

from sidelane.files.file import DIGITS
from sidelane.model.codec import Codec
from sidelane.model.errors import UnknownFile
from sidelane.model.signing import decode_base64url, encode_base64url, is_signature, sign

PREFIX = "sidelane-files:"
"""Prefix of the signed text."""

KEY = re.compile(DIGITS)
"""Name of a file in its storage."""

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


_GRANT: Codec[UrlGrant] = Codec(UrlGrant)


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
        grant = _grant(text)
        if grant.verb != verb or grant.until < time.time():
            raise UnknownFile("This link to a file has expired.")
        return grant


def _grant(text: str) -> UrlGrant:
    """Return the grant in a token. Raises `UnknownFile` if the grant does not name a file."""
    try:
        grant = _GRANT.decode(decode_base64url(text).decode())
    except (TypeError, ValueError):
        raise UnknownFile("There is no such link to a file.") from None
    if not KEY.fullmatch(grant.file):
        raise UnknownFile("There is no such link to a file.")
    return grant
