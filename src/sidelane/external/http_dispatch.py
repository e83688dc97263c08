"""Offering by HTTP: one POST, signed where a secret is named, and what the answer means."""

from http import HTTPStatus

from sidelane.callbacks.http_client import NotDelivered, WebhookClient
from sidelane.callbacks.secrets import Secrets
from sidelane.callbacks.signing import webhook_headers
from sidelane.external.http_endpoint import Http
from sidelane.model.errors import TransportMisconfigured
from sidelane.model.message import Message

MAX_RETRY_AFTER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
"""The answers of 400 to 499 that ask for another try."""


async def post_dispatch(
    webhooks: WebhookClient, secrets: Secrets, via: Http, message: Message, traceparent: str | None
) -> None:
    """Post an offer to a receiver that takes it, with a status of 200 to 299.

    Raises `NotDelivered` where another try may help, `TransportUnusable` on an answer that is final, `AddressRefused`,
    `UnknownSecret`, `MissingExtra`.
    """
    valid = await secrets.of(via.secret) if via.secret else []
    headers = {
        "content-type": message.attributes.get("content-type", "text/plain; charset=utf-8"),
        **({"traceparent": traceparent} if traceparent else {}),
        **webhook_headers(message.id, message.body, valid),
        **via.headers,
    }
    answer = await webhooks.post(via.url, message.body.encode(), headers)
    if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return
    words = f"{via} answered {answer.status}" + (f": {answer.text}" if answer.text else ".")
    if answer.status in range(400, 500) and answer.status not in MAX_RETRY_AFTER:
        raise TransportMisconfigured(words)
    raise NotDelivered(words, answer.retry_after)
