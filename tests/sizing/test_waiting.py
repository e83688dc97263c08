"""Waits by Erlang's formula: known values, and a simulation that agrees."""

import heapq
import math
import random
import statistics

import pytest

from sidelane.sizing.waiting import median_wait, slots_for_wait


def test_one_slot_is_the_queue_of_textbooks() -> None:
    assert median_wait(0.7, 1.0, 1) == pytest.approx(math.log(1.4) / 0.3)
    assert median_wait(0.4, 1.0, 1) == 0.0  # fewer than half of the jobs wait at all


def test_too_few_slots_wait_for_ever() -> None:
    assert median_wait(2.0, 1.0, 2) == math.inf
    assert slots_for_wait(2.0, 1.0, 0.0, at_least=1) == 3


def test_many_slots_need_few_more_than_are_busy() -> None:
    assert slots_for_wait(100.0, 10.0, 1.0, at_least=1) < 1010


@pytest.mark.parametrize(("arrivals", "slots"), [(0.85, 1), (2.7, 3), (9.5, 10)])
def test_median_wait_is_that_of_a_simulation(arrivals: float, slots: int) -> None:
    chance, now, free, waits = random.Random(1), 0.0, [0.0] * slots, []
    for _ in range(100_000):
        now += chance.expovariate(arrivals)
        start = max(now, heapq.heappop(free))
        heapq.heappush(free, start + chance.expovariate(1.0))
        waits.append(start - now)
    assert median_wait(arrivals, 1.0, slots) == pytest.approx(statistics.median(waits), rel=0.15, abs=0.02)
