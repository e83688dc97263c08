"""Receivers: where a POST goes, taken apart from its URL."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from sidelane.model.errors import ArgumentsError

PORTS = {"http": 80, "https": 443}

MAX_LENGTH = 2048
"""Characters of a URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookUrl:
    """The parts of an http or https URL (RFC 3986). `host` is in small letters, an IPv6 address without its brackets."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def name(self) -> str:
        """Its host and port: what callbacks are counted and take turns by."""
        return f"{self._bracketed}:{self.port}"

    @property
    def authority(self) -> str:
        """Its host, and its port unless that goes without saying: the Host header."""
        return self._bracketed if self.port == PORTS[self.scheme] else self.name

    @property
    def shown(self) -> str:
        """Its URL without the query, where tokens may stand: for logs and errors."""
        path, query, _ = self.target.partition("?")
        return f"{self.scheme}://{self.authority}{path}{'?…' if query else ''}"

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def parse_url(url: object) -> WebhookUrl:
    """Take a URL apart. Raises `ArgumentsError` on what is none, or none that can be posted to."""
    if not isinstance(url, str) or not 0 < len(url) <= MAX_LENGTH:
        raise ArgumentsError(f"{_shown(url)}: a URL is a text of 1 to {MAX_LENGTH:,} characters.")
    if not url.isascii() or any(letter <= " " or letter in '"<>\\^`{|}\x7f' for letter in url):
        raise ArgumentsError(
            f"{_shown(url)}: write what is no letter, digit or sign of a URL as %…, and a host in Punycode."
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ArgumentsError(f"{_shown(url)} is no URL: {error}.") from error
    if parts.scheme not in PORTS:
        raise ArgumentsError(f"{_shown(url)}: this is a URL that begins with https:// or http://.")
    if parts.username is not None or parts.password is not None:
        raise ArgumentsError(
            f"A URL with a name or password in it ({parts.scheme}://…@{host}) would show them in every log."
        )
    if not host or port == 0:
        raise ArgumentsError(f"{_shown(url)}: this URL names no host that could be reached.")
    query = f"?{parts.query}" if parts.query else ""
    return WebhookUrl(
        scheme=parts.scheme, host=host.lower().rstrip("."), port=port or PORTS[parts.scheme],
        target=(parts.path or "/") + query,
    )  # fmt: skip


def _shown(url: object) -> str:
    """Write what was given, without a query: tokens may stand there."""
    text = repr(url.partition("?")[0] if isinstance(url, str) else url)
    return text if len(text) <= 200 else text[:199] + "…"
