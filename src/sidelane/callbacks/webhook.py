"""Webhook: a callback by HTTP, as a call declares it."""

import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

from sidelane.callbacks.ssrf import AddressPolicy
from sidelane.callbacks.url import parse_url
from sidelane.model.errors import ArgumentsError
from sidelane.model.job import FINISHED, State
from sidelane.model.settings import Settings
from sidelane.tasks.registry import PayloadBuilder

On = Literal["end", "success", "failure"]

FINISHED_STATES = {"end": FINISHED, "success": frozenset({State.SUCCEEDED}), "failure": frozenset({State.FAILED})}
"""The final states that each value of `on` includes. A cancelled job is neither a success nor a failure."""

NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")  # RFC 9110, 5.6.2

RESERVED_HEADERS = re.compile(r"host|connection|content-length|transfer-encoding|webhook-.*", re.IGNORECASE)
"""Headers that applications cannot set."""

MAX_HEADERS = 32
MAX_HEADER_LENGTH = 4096
"""Headers that applications set, and characters of a value: receivers accept about 8 KiB of headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookTarget:
    """Target of a webhook, as its job stores it."""

    url: str
    secret: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: Literal["webhook"] = "webhook"


@dataclass(frozen=True, slots=True)
class Webhook:
    """Posts to a URL how a job ended, by Standard Webhooks 1.0.

    `secret` names the secret that signs the webhook (None: unsigned). `headers` are sent with it; the headers are stored with the
    job, so they must not contain secrets. `body`, a function marked with `@lane.callback_payload`, returns a body in the receiver's
    own format. `on` selects which ends are reported. With `progress`, progress is reported too, while the job runs.

    Raises `ArgumentsError`, which is a 422 if a request brought the URL.
    """

    url: str
    _: KW_ONLY
    secret: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: PayloadBuilder | None = None
    on: On = "end"
    progress: bool = False

    def __post_init__(self) -> None:
        parse_url(self.url)
        check_states(self.on, self.body)
        _check_secret(self.secret)
        check_headers(self.headers)

    @property
    def states(self) -> frozenset[State]:
        """The states that are reported."""
        return FINISHED_STATES[self.on]

    def destination(self, settings: Settings) -> tuple[str, WebhookTarget]:
        """Return the receiver's host and port, and the target. Raises `AddressRefused`."""
        url = parse_url(self.url)
        AddressPolicy.of(settings).check_host(url.host)
        return url.name, WebhookTarget(url=self.url, secret=self.secret, headers=self.headers)


def _check_secret(name: object) -> None:
    if name is not None and not (isinstance(name, str) and name):
        raise ArgumentsError("Webhook(secret=…): secret is the name of a secret that the lane or its workers know.")


def check_headers(headers: Mapping[Any, Any]) -> None:
    """Check headers of an application's own. Raises `ArgumentsError`."""
    if len(headers) > MAX_HEADERS:
        raise ArgumentsError(f"headers=…: there are {len(headers):,}; use at most {MAX_HEADERS}.")
    for name, value in headers.items():
        if not isinstance(name, str) or not NAME.fullmatch(name) or RESERVED_HEADERS.fullmatch(name):
            raise ArgumentsError(f"headers=…: {str(name)[:100]!r} cannot be set.")
        if not isinstance(value, str) or not value.isprintable():
            raise ArgumentsError(f"headers=…: the value of {name!r} is not printable text.")
        if len(value) > MAX_HEADER_LENGTH:
            raise ArgumentsError(
                f"headers=…: the value of {name!r} has {len(value):,} characters; use at most {MAX_HEADER_LENGTH:,}."
            )


def check_states(on: object, body: object) -> None:
    """Check the options of a callback. Raises `ArgumentsError`."""
    if on not in FINISHED_STATES:
        raise ArgumentsError(f"on={on!r}: on is 'end', 'success' or 'failure'.")
    if body is not None and not callable(body):
        raise ArgumentsError(f"body={body!r}: body is a function marked with @lane.callback_payload.")
