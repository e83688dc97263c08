"""Checks of the numbers that declarations and options take."""

import math
from typing import TypeGuard


def is_count(value: object) -> TypeGuard[int]:
    """Return whether a value is a whole number, at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_duration(value: object) -> TypeGuard[float]:
    """Return whether a value is a finite number of seconds, not below 0."""
    return isinstance(value, int | float) and value >= 0 and math.isfinite(value)
