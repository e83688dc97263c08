"""The RateLimit-Policy and RateLimit fields of draft-ietf-httpapi-ratelimit-headers-11."""

import pytest

from sidelane.model.limit import Limit, LimitHit
from sidelane.web.problems import limit_fields, whole_seconds

SLOTS = Limit(name="chat-per-user", key="ann", max=3)
RATE = Limit(name="per-minute", key="ann", max=10, window=60.0, burst=10)


@pytest.mark.parametrize(
    ("reached", "policy", "remaining"),
    [
        ([LimitHit(SLOTS)], '"chat-per-user";q=3;qu="concurrent-requests"', '"chat-per-user";r=0'),
        ([LimitHit(RATE, 11.2)], '"per-minute";q=10;w=60', '"per-minute";r=0;t=12'),
        ([LimitHit(RATE, 0.0)], '"per-minute";q=10;w=60', '"per-minute";r=0;t=1'),
        (
            [LimitHit(SLOTS), LimitHit(RATE, 6.0)],
            '"chat-per-user";q=3;qu="concurrent-requests", "per-minute";q=10;w=60',
            '"chat-per-user";r=0, "per-minute";r=0;t=6',
        ),
    ],
)
def test_each_limit_is_a_member_of_both_fields(reached: list[LimitHit], policy: str, remaining: str) -> None:
    assert limit_fields(reached) == {"RateLimit-Policy": policy, "RateLimit": remaining}


def test_limit_key_is_not_revealed() -> None:
    assert "ann" not in str(limit_fields([LimitHit(SLOTS), LimitHit(RATE, 1.0)]))


def test_no_limits_make_no_fields() -> None:
    assert limit_fields([]) == {}


@pytest.mark.parametrize(("seconds", "rounded"), [(0.0, 1), (0.2, 1), (1.0, 1), (1.01, 2), (59.5, 60)])
def test_waits_are_rounded_up_to_at_least_one_second(seconds: float, rounded: int) -> None:
    assert whole_seconds(seconds) == rounded
