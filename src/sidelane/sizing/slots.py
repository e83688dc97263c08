"""Slots that a load needs, by Little's law: on average, arrivals per second times seconds of each job are busy at once.

J. D. C. Little, "A Proof for the Queuing Formula L = λW", Operations Research 9 (1961).
"""

from typing import Final

TARGET_UTILISATION: Final = 0.75
"""Share of the slots that should be busy. The rest is for the moments in which more arrives than on average."""


def busy_slots(arrivals: float, run_time: float) -> float:
    """Return how many slots are busy on average. `arrivals` are jobs per second, `run_time` the mean seconds of a job."""
    return arrivals * run_time


def wanted_slots(arrivals: float, run_time: float, *, backlog: float = 0.0, target_wait: float | None = None) -> float:
    """Return how many slots keep up with the arrivals, and work off `backlog` jobs within `target_wait` seconds.

    Without a target wait, the backlog may take any time.
    """
    steady = busy_slots(arrivals, run_time) / TARGET_UTILISATION
    return steady if target_wait is None else max(steady, backlog * run_time / target_wait)
