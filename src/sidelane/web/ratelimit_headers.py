"""What a client reads of the limits that kept its request out: the fields of draft-ietf-httpapi-ratelimit-headers-11.

They are two short lists of Structured Fields (RFC 9651) that are only ever written here, of names without a character to escape:
a library, whose work is to read them, would be a dependency for two lines.
"""

import math
from collections.abc import Sequence

from sidelane.model.limit import Limit, LimitHit


def limit_fields(reached: Sequence[LimitHit]) -> dict[str, str]:
    """Write both fields, a member for each limit. Whom a limit counted for stays inside: there is no partition key."""
    if not reached:
        return {}  # a list without members is no field
    return {
        "RateLimit-Policy": ", ".join(_policy(each.limit) for each in reached),
        "RateLimit": ", ".join(_standing(each) for each in reached),
    }


def whole_seconds(seconds: float) -> int:
    """Round a wait up, as a client must that asks again neither too early nor at once."""
    return max(1, math.ceil(seconds))


def _policy(limit: Limit) -> str:
    unit = ';qu="concurrent-requests"' if limit.window is None else f";w={whole_seconds(limit.window)}"
    return f'"{limit.name}";q={limit.most}{unit}'


def _standing(reached: LimitHit) -> str:
    after = "" if reached.after is None else f";t={whole_seconds(reached.after)}"
    return f'"{reached.limit.name}";r=0{after}'
