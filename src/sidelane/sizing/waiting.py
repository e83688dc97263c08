"""How long jobs wait for a slot, by Erlang's formula C: arrivals at random, run times that vary, one line for all slots.

A. K. Erlang, "Solution of Some Problems in the Theory of Probabilities of Significance in Automatic Telephone Exchanges" (1917).
"""

import math


def median_wait(arrivals: float, run_time: float, slots: int) -> float:
    """Return the seconds that a half of all jobs does not exceed until a slot is free; infinite if the queue grows for ever."""
    busy = arrivals * run_time
    if busy >= slots:
        return math.inf
    waiting = _share_that_waits(busy, slots)
    return max(0.0, math.log(2 * waiting)) * run_time / (slots - busy) if waiting else 0.0


def slots_for_wait(arrivals: float, run_time: float, target: float, *, at_least: int) -> int:
    """Return the fewest slots, but `at_least` so many, with which half of all jobs wait no longer than `target` seconds."""
    slots = max(at_least, math.floor(arrivals * run_time) + 1)
    while median_wait(arrivals, run_time, slots) > target:
        slots += 1
    return slots


def _share_that_waits(busy: float, slots: int) -> float:
    """Return the share of jobs that find every slot taken, from Erlang's formula B, which grows slot by slot."""
    blocked = 1.0
    for number in range(1, slots + 1):
        blocked = busy * blocked / (number + busy * blocked)
    return blocked / (1 - busy / slots * (1 - blocked))
