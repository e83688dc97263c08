"""Where offers go by HTTP, beside the addresses of transports."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from sidelane.model.errors import ConfigurationError
from sidelane.transports.address import Address


@dataclass(frozen=True, slots=True)
class Http:
    """A URL that takes offers by POST: any answer of 200 to 299 says that it has taken one.

    `secret` names the secret that signs them by Standard Webhooks 1.0; `headers` go with each. Raises `ConfigurationError`.
    """

    url: str
    _: KW_ONLY
    secret: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: Literal["http"] = "http"

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            usable = False
        if not usable:
            raise ConfigurationError(f"Http({self.url!r}): this is a URL, as https://analysis.example.com/jobs.")

    def __str__(self) -> str:
        return self.url.partition("?")[0]


Via = Address | Http
"""What offers are sent to."""
