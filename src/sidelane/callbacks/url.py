"""Webhook URLs: parsing, checks, and redaction for logs."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from sidelane.model.errors import ArgumentsError

PORTS = {"http": 80, "https": 443}

MAX_LENGTH = 2048
"""Maximum number of characters of a URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookUrl:
    """The parts of an http or https URL (RFC 3986). `host` is in lower case, an IPv6 address without its brackets."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def name(self) -> str:
        """Host and port: the receiver, by which callbacks are limited."""
        return f"{self._bracketed}:{self.port}"

    @property
    def authority(self) -> str:
        """Host, and port unless it is the default: the Host header."""
        return self._bracketed if self.port == PORTS[self.scheme] else self.name

    @property
    def redacted(self) -> str:
        """The URL for logs and errors, without its query, which may contain tokens."""
        path, query, _ = self.target.partition("?")
        return f"{self.scheme}://{self.authority}{path}{'?…' if query else ''}"

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def parse_url(url: object) -> WebhookUrl:
    """Parse a URL. Raises `ArgumentsError` if the URL is invalid or cannot be the target of a POST."""
    if not isinstance(url, str) or not 0 < len(url) <= MAX_LENGTH:
        raise ArgumentsError(f"{_quoted(url)}: a URL has 1 to {MAX_LENGTH:,} characters.")
    if not url.isascii() or any(letter <= " " or letter in '"<>\\^`{|}\x7f' for letter in url):
        raise ArgumentsError(
            f"{_quoted(url)}: percent-encode what is not allowed in a URL, and write the host in Punycode."
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ArgumentsError(f"{_quoted(url)} is not a URL: {error}.") from error
    if parts.scheme not in PORTS:
        raise ArgumentsError(f"{_quoted(url)}: a URL begins with https:// or http://.")
    if parts.username is not None or parts.password is not None:
        raise ArgumentsError(
            f"A URL with a user name or password ({parts.scheme}://…@{host}) would show them in every log."
        )
    if not host or port == 0:
        raise ArgumentsError(f"{_quoted(url)}: this URL names no host that can be reached.")
    query = f"?{parts.query}" if parts.query else ""
    return WebhookUrl(
        scheme=parts.scheme, host=host.lower().rstrip("."), port=port or PORTS[parts.scheme],
        target=(parts.path or "/") + query,
    )  # fmt: skip


def _quoted(url: object) -> str:
    """Return an invalid URL for an error, without its query, which may contain tokens."""
    text = repr(url.partition("?")[0] if isinstance(url, str) else url)
    return text if len(text) <= 200 else text[:199] + "…"
