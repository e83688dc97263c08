"""The arithmetic of rate limits: bursts, waits, and a clock that goes back."""

import pytest

from sidelane.model import gcra
from sidelane.model.limit import Limit

NOW = 1_700_000_000.0
LIMIT = Limit(name="calls", key="ann", max=10, window=5.0, burst=3)  # one every half a second, three at once


def test_an_unused_limit_allows_its_burst_and_no_more() -> None:
    tat = gcra.clamp_tat(LIMIT, None, NOW)
    for remaining in (3, 2, 1):
        assert (gcra.available(LIMIT, tat, NOW), gcra.wait_time(LIMIT, tat, NOW)) == (remaining, 0.0)
        tat += gcra.interval(LIMIT)
    assert gcra.available(LIMIT, tat, NOW) == 0
    assert gcra.wait_time(LIMIT, tat, NOW) == pytest.approx(0.5)


def test_one_more_job_is_allowed_after_each_interval() -> None:
    tat = NOW + LIMIT.burst * gcra.interval(LIMIT)
    assert [gcra.available(LIMIT, tat, NOW + seconds) for seconds in (0.49, 0.5, 1.0, 1.5)] == [0, 1, 2, 3]


def test_an_unused_limit_does_not_collect_more_than_its_burst() -> None:
    assert gcra.available(LIMIT, gcra.clamp_tat(LIMIT, NOW - 3600, NOW), NOW) == 3


def test_after_the_clock_went_back_a_wait_is_no_longer_than_for_a_whole_burst() -> None:
    assert gcra.clamp_tat(LIMIT, NOW + 3600, NOW) == NOW + 1.5
