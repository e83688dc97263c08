"""Signatures by Standard Webhooks 1.0: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from sidelane.callbacks.secrets import SecretError
from sidelane.model.errors import MissingExtra


def webhook_headers(message_id: str, body: str, secrets: Sequence[str], *, at: float | None = None) -> dict[str, str]:
    """Give the headers of one delivery: its id, its time (`at`, seconds since 1970; None: now), a signature for each secret.

    Without secrets there is no signature. Raises `SecretError` on a secret that is none, without showing it, and `MissingExtra`.
    """
    moment = datetime.fromtimestamp(int(time.time() if at is None else at), UTC)
    headers = {"webhook-id": message_id, "webhook-timestamp": str(int(moment.timestamp()))}
    if secrets:
        headers["webhook-signature"] = " ".join(_signed(secret, message_id, moment, body) for secret in secrets)
    return headers


def _signed(secret: str, message_id: str, moment: datetime, body: str) -> str:
    try:
        import standardwebhooks
    except ModuleNotFoundError as error:
        raise MissingExtra("Signed webhooks need a package: pip install 'sidelane[webhooks]'.") from error
    try:
        return standardwebhooks.Webhook(secret).sign(message_id, moment, body)
    except Exception as error:
        raise SecretError(
            "A secret of webhooks is 'whsec_' and base64, as the receiver has it; this one cannot be read."
        ) from error
