"""Origin check of WebSockets: browsers open WebSockets from pages of any site, and send this site's cookies along."""

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from sidelane.model.errors import ConfigurationError, SidelaneError

ANY = "*"
OPAQUE = "null"
"""What browsers send for pages without an origin, e.g. local files and sandboxed frames."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


class ForeignOrigin(SidelaneError):
    """The WebSocket was opened by a page of another origin."""

    status = 403


class AllowedOrigins:
    """The origins whose pages may open WebSockets beside those of the service itself. `*` allows all."""

    def __init__(self, origins: Iterable[str]) -> None:
        """Raise `ConfigurationError` if `origins` is a text, or contains what cannot be an origin."""
        if isinstance(origins, str):
            raise ConfigurationError(f"allowed_origins={origins!r} is one text; write [{origins!r}].")
        self._origins = frozenset(_as_sent(origin) for origin in origins)

    def check(self, headers: Mapping[str, str]) -> None:
        """Raise `ForeignOrigin` if a browser sent these headers for a page of an origin that is not allowed.

        The service's own origin has the host and port of `Host`. Its scheme may differ, because proxies end TLS.
        """
        origin = headers.get("origin")
        if origin is None or ANY in self._origins or origin.lower() in self._origins:  # only browsers send one
            return
        found = _host_and_port(origin)
        if found is None or found != _host_and_port(f"{urlsplit(origin).scheme}://{headers.get('host', '')}"):
            raise ForeignOrigin(f"Pages of {origin[:60]!r} may not open this WebSocket.")


def _as_sent(origin: str) -> str:
    """Return an origin as browsers send it. Raises `ConfigurationError` if it is no origin, e.g. a URL with a path."""
    if origin in (ANY, OPAQUE):
        return origin
    found = _host_and_port(origin)
    if found is None:
        raise ConfigurationError(
            f"allowed_origins contains {origin!r}, which is not an origin; write e.g. 'https://app.example.com', without a path."
        )
    return origin.lower()


def _host_and_port(origin: str) -> tuple[str, int | None] | None:
    """Return host and port of an origin, or None if it has other parts or no host.

    If no port is written, it is that of the scheme.
    """
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    if not parts.scheme or not parts.hostname or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        return None
    return parts.hostname, _DEFAULT_PORTS.get(parts.scheme) if port is None else port
