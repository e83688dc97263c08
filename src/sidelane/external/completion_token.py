"""Completion tokens: the right to end one hand-over, which cannot be guessed and holds as long as the lease it was made of."""

import base64
import hmac
import re

from sidelane.model.job import Lease

PURPOSE = "completion tokens"
"""What the key of these tokens is made for."""

_TOKEN = re.compile(r"([0-9]{1,18})\.([A-Za-z0-9_-]{1,64})\.([A-Za-z0-9_-]{43})")


def make_token(key: bytes, lease: Lease) -> str:
    """Make the token of a lease: `<attempt>.<nonce>.<mac>`, the mac an HMAC-SHA256 (RFC 2104) over job, attempt and nonce."""
    return f"{lease.attempt}.{lease.nonce}.{_mac(key, lease)}"


def read_token(key: bytes, job_id: str, token: str) -> Lease | None:
    """Give the lease that a token was made of; None where it is none of this job, or forged."""
    found = _TOKEN.fullmatch(token)
    if found is None:
        return None
    lease = Lease(job_id, int(found[1]), found[2])
    return lease if hmac.compare_digest(_mac(key, lease), found[3]) else None


def _mac(key: bytes, lease: Lease) -> str:
    digest = hmac.digest(key, f"{lease.job_id}\n{lease.attempt}\n{lease.nonce}".encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
