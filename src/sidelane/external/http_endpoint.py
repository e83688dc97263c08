"""Where offers go by HTTP, beside the addresses of transports."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal

from sidelane.callbacks.url import parse_url
from sidelane.model.errors import ArgumentsError, ConfigurationError
from sidelane.transports.endpoints import Address


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
            parse_url(self.url)
        except ArgumentsError as error:
            raise ConfigurationError(f"Http(…): {error}") from error

    def __str__(self) -> str:
        return parse_url(self.url).shown


SendTarget = Address | Http
"""What offers are sent to."""
