"""Identifiers: ids of jobs, nonces of leases, epochs of logs, traces."""

import os
import re
import secrets
import struct
import time

_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")
_GENERATED = re.compile(r"[0-9a-f]{32}(?:\.[A-Za-z0-9._~-]{1,95})?")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def new_id() -> str:
    """Return a new job id: 32 hex digits that sort by their millisecond and cannot be guessed (80 random bits)."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def is_id(text: str) -> bool:
    """Return whether `text` may be a job id: 1 to 128 of the unreserved characters of a URL (RFC 3986)."""
    return _ID.fullmatch(text) is not None


def is_generated(text: str) -> bool:
    """Return whether an id is from `new_id`, or begins with such an id, as the ids of follow-ups do. These ids cannot be guessed.

    An id that the application chose, e.g. an order number, has another form.
    """
    return _GENERATED.fullmatch(text) is not None


def is_traceparent(text: str) -> bool:
    """Return whether `text` is a `traceparent` (W3C Trace Context). Ids of zeros only, and version ff, are invalid."""
    return _TRACEPARENT.fullmatch(text) is not None


def new_nonce() -> str:
    """Return a new secret part of a lease, or id of a request that may be repeated."""
    return os.urandom(8).hex()


def new_epoch() -> int:
    """Return a new epoch, which distinguishes two histories of a log that reuse the same numbers (rule 17)."""
    return secrets.randbits(32) | 1


def new_nonces(count: int) -> list[str]:
    """Return several nonces, faster than one by one."""
    digits = os.urandom(8 * count).hex()
    return [digits[first : first + 16] for first in range(0, 16 * count, 16)]


def new_epochs(count: int) -> list[int]:
    """Return several epochs, faster than one by one."""
    return [epoch | 1 for epoch in struct.unpack(f"{count}I", os.urandom(4 * count))]
