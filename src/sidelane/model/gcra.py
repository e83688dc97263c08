"""GCRA, the generic cell rate algorithm (ITU-T I.371), which is the arithmetic of rate limits.

A limit stores one number, its theoretical arrival time (TAT). At that time the whole burst is available again. Times are in
seconds.
"""

import math

from sidelane.model.limit import Limit

_RESOLUTION = 1e-6  # of a float that counts the seconds since 1970


def interval(limit: Limit) -> float:
    """Return the seconds between two jobs at the steady rate."""
    return limit.every or 0.0


def clamp_tat(limit: Limit, stored: float | None, now: float) -> float:
    """Return the stored TAT, no earlier than now, and no later than a whole burst allows, because the clock may go back."""
    return now if stored is None else min(max(stored, now), now + limit.burst * interval(limit))


def wait_time(limit: Limit, tat: float, now: float) -> float:
    """Return the seconds until one more job is allowed, or 0 if a job is allowed now."""
    seconds = tat - now - (limit.burst - 1) * interval(limit)
    return seconds if seconds > _RESOLUTION else 0.0


def available(limit: Limit, tat: float, now: float) -> int:
    """Return how many jobs are allowed now."""
    return max(0, math.floor(limit.burst - (tat - now - _RESOLUTION) / interval(limit)))
