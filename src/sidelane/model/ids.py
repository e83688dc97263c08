"""Identifiers: ids of jobs, nonces of leases, epochs of logs, traces."""

import os
import re
import secrets
import time

_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")
_MADE = re.compile(r"[0-9a-f]{32}(?:\.[A-Za-z0-9._~-]{1,95})?")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def new_id() -> str:
    """Make a job id: 32 hex digits that sort by the millisecond they were made in and cannot be guessed (80 random bits)."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def is_id(text: str) -> bool:
    """Tell whether `text` may be a job id: 1 to 128 of the characters a URL's path leaves alone."""
    return _ID.fullmatch(text) is not None


def is_made(text: str) -> bool:
    """Tell whether an id has the form that `new_id` makes, or begins so, as those of follow-ups do: nobody can guess it.

    What an application chose itself has another, an order's number say.
    """
    return _MADE.fullmatch(text) is not None


def is_traceparent(text: str) -> bool:
    """Tell whether `text` names a trace as W3C Trace Context writes it."""
    return _TRACEPARENT.fullmatch(text) is not None


def new_nonce() -> str:
    """Make the secret part of a lease or the id of a request that may be repeated."""
    return os.urandom(8).hex()


def new_epoch() -> int:
    """Make the number that tells one stretch of a job's log from another that reuses its numbers (rules 17)."""
    return secrets.randbits(32) | 1
