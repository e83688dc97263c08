"""Webhook signatures by Standard Webhooks 1.0, and the secrets that sign them.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import inspect
import os
import re
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime

from sidelane.model.errors import MissingExtra, SidelaneError

Secret = str | Sequence[str]
"""One secret, or all valid secrets while one secret replaces another."""

SecretSource = Mapping[str, Secret] | Callable[[str], Secret | Awaitable[Secret | None] | None]
"""Secrets by name, or a function that returns the secret of a name, or None if there is none."""

VARIABLE = "SIDELANE_WEBHOOK_SECRET_"
"""Prefix of the environment variables; the name follows in capitals. Several secrets are separated by spaces."""

PREFIX = "whsec_"

MIN_SECRET = 24
"""Bytes of a webhook secret, without base64 (Standard Webhooks: 24 to 64)."""


class SecretError(SidelaneError):
    """A secret that a delivery needs is missing or invalid."""


class Secrets:
    """The webhook secrets of one lane, by name.

    Secrets come from the lane's `secrets=`, else from the environment, and are not stored in jobs.
    """

    def __init__(self, source: SecretSource) -> None:
        self._source = source

    async def get(self, name: str) -> list[str]:
        """Return the valid secrets of this name, the newest first. Raises `SecretError`."""
        found = self._source.get(name) if isinstance(self._source, Mapping) else self._source(name)
        if inspect.isawaitable(found):
            found = await found
        variable = secret_variable(name)
        secrets = [found] if isinstance(found, str) else list(found or os.environ.get(variable, "").split())
        if not secrets:
            raise SecretError(
                f"There is no secret {name!r}: pass it to the lane, Sidelane(secrets=…), or set {variable} for its workers."
            )
        return secrets


def secret_variable(name: str) -> str:
    """Return the environment variable of a secret."""
    return VARIABLE + re.sub(r"[^A-Z0-9]", "_", name.upper())


def webhook_headers(message_id: str, body: str, secrets: Sequence[str], *, at: float | None = None) -> dict[str, str]:
    """Return the headers of one delivery: its id, its time, and a signature for each secret.

    `at` is the time in seconds since 1970 (None: now). Without secrets there is no signature. Raises `SecretError` if a secret is
    invalid; the message does not contain the secret. Raises `MissingExtra` if the extra `webhooks` is not installed.
    """
    moment = datetime.fromtimestamp(int(time.time() if at is None else at), UTC)
    headers = {"webhook-id": message_id, "webhook-timestamp": str(int(moment.timestamp()))}
    if secrets:
        headers["webhook-signature"] = " ".join(_signature(secret, message_id, moment, body) for secret in secrets)
    return headers


def _signature(secret: str, message_id: str, moment: datetime, body: str) -> str:
    try:
        import standardwebhooks
    except ModuleNotFoundError as error:
        raise MissingExtra("Signed webhooks need a package: pip install 'sidelane[webhooks]'.") from error
    try:
        size = len(b64decode(secret.removeprefix(PREFIX)))
        signature: str = standardwebhooks.Webhook(secret).sign(message_id, moment, body)
    except Exception as error:
        raise SecretError(
            f"A webhook secret is '{PREFIX}' and base64, the same as the receiver's; this one cannot be read."
        ) from error
    if size < MIN_SECRET:
        raise SecretError(
            f"A webhook secret has at least {MIN_SECRET} bytes, and this one has {size}: make one by "
            f'`echo "{PREFIX}$(openssl rand -base64 32)"`, and give it to the receiver too.'
        )
    return signature
