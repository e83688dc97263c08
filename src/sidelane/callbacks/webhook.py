"""Webhooks: telling a receiver of a job by HTTP. A value: nothing is sent by making one."""

import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal

from sidelane.callbacks.ssrf import AddressPolicy
from sidelane.callbacks.url import parse_url
from sidelane.model.errors import ArgumentsError
from sidelane.model.job import FINISHED, State
from sidelane.model.settings import Settings
from sidelane.tasks.registry import PayloadBuilder

On = Literal["end", "success", "failure"]

FINISHED_STATES = {"end": FINISHED, "success": frozenset({State.SUCCEEDED}), "failure": frozenset({State.FAILED})}
"""The states in which a job has ended for each of them: the end of a cancelled job is neither success nor failure."""

NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")  # RFC 9110, 5.6.2

OURS = re.compile(r"host|connection|content-length|transfer-encoding|webhook-.*", re.IGNORECASE)
"""Headers that are nobody else's to set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookTarget:
    """Where a webhook goes, as its job keeps it."""

    url: str
    secret: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: Literal["webhook"] = "webhook"


@dataclass(frozen=True, slots=True)
class Webhook:
    """Posts to a URL how a job ended, by Standard Webhooks 1.0.

    `secret` names the secret that signs it (None: unsigned). `headers` go with it; they are kept with the job, so they are no place
    for secrets. `body`, a function marked with `@lane.callback_body`, makes a body of the receiver's own form. `on`: which ends
    are told; `progress`: how far the job is, too, while it runs.

    Raises `ArgumentsError`, 422 where a request brought the URL.
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
        for name, value in self.headers.items():
            _check_header(name, value)

    @property
    def states(self) -> frozenset[State]:
        """The ends that are told."""
        return FINISHED_STATES[self.on]

    def destination(self, settings: Settings) -> tuple[str, WebhookTarget]:
        """Return its receiver's host and port, and its target. Raises `AddressRefused`."""
        url = parse_url(self.url)
        AddressPolicy.of(settings).check_host(url.host)
        return url.name, WebhookTarget(url=self.url, secret=self.secret, headers=self.headers)


def _check_secret(name: object) -> None:
    if name is not None and not (isinstance(name, str) and name):
        raise ArgumentsError("Webhook(secret=…): this is the name of a secret that the lane or its workers know.")


def _check_header(name: object, value: object) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name) or OURS.fullmatch(name):
        raise ArgumentsError(f"Webhook(headers=…): {name!r} is no header that could be set here.")
    if not isinstance(value, str) or not value.isprintable():
        raise ArgumentsError(f"Webhook(headers=…): the value of {name!r} is no printable text.")


def check_states(on: object, body: object) -> None:
    """Raise `ArgumentsError` where these do not say what is to be told."""
    if on not in FINISHED_STATES:
        raise ArgumentsError(f"on={on!r}: this is 'end', 'success' or 'failure'.")
    if body is not None and not callable(body):
        raise ArgumentsError(f"body={body!r}: this is a function, marked with @lane.callback_body.")
