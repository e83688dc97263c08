"""Number of worker processes that a load needs, with the reason, and when a smaller number counts.

More processes count at once. Fewer count only after they were enough for a while.
"""

import math
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sidelane.model.durations import duration_text, rate_text
from sidelane.processes.scale import MAX_PROCESSES
from sidelane.sizing.slots import TARGET_UTILISATION, wanted_slots

DOWN_WINDOW: Final = 300.0
"""Seconds for which a smaller number must be enough before it counts."""

MIN_RATE_WINDOW: Final = 15.0
MAX_RATE_WINDOW: Final = 300.0
"""Seconds over which arrivals are averaged at least and at most."""

BATCH_WAIT: Final = 600.0
"""Seconds within which the backlog of a queue without a target wait should start."""

DEFAULT_RUN_TIME: Final = 1.0
"""Seconds that a job is taken to run as long as nothing is known about its queue."""

MAXIMUM: Final = "maximum"
"""What caps a number that would exceed the bounds."""

_ROUNDING = 1e-9  # so that the rounding of floats never costs a process

_BOUNDS = re.compile(r"\s*(\d{1,6})\s*\.\.\s*(\d{1,6})\s*")


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the most processes of a group."""

    least: int
    most: int

    @classmethod
    def parse(cls, text: str) -> "Bounds":
        """Read bounds such as "1..8". Raises ValueError with a sentence."""
        found = _BOUNDS.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r}: write the least and the most processes, e.g. 1..8.")
        least, most = int(found[1]), int(found[2])
        if least < 1:
            raise ValueError(
                f"{text!r}: the least is 1 process, because without one nothing tells what the group serves; write "
                f"1..{max(most, 1)}."
            )
        if least > most:
            raise ValueError(f"{text!r}: the least is more than the most; write {most}..{least}.")
        if most > MAX_PROCESSES:
            raise ValueError(f"{text!r}: a group has at most {MAX_PROCESSES} processes.")
        return cls(least, most)

    def clamp(self, processes: int) -> int:
        """Return the number within the bounds that is nearest to this one."""
        return min(self.most, max(self.least, processes))

    def __str__(self) -> str:
        return f"{self.least}..{self.most}"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLoad:
    """The load of one queue. `arrivals` are the jobs per second that become able to start, `run_time` their mean seconds.

    `ready` jobs can start, and those that wait for a limit cannot. `limit` names the limits that may hold them. `slots` is how many
    jobs of the queue one process runs at once. `share` is the part of the load that the group takes if other groups serve the
    queue too. A queue without a `target_wait` in seconds has `BATCH_WAIT`.
    """

    name: str
    arrivals: float = 0.0
    run_time: float = DEFAULT_RUN_TIME
    ready: int = 0
    running: int = 0
    waiting_for_limit: int = 0
    limit: str = ""
    paused: bool = False
    target_wait: float | None = None
    slots: int = 1
    share: float = 1.0

    @property
    def held(self) -> bool:
        """Whether a limit holds jobs that more slots would not start."""
        return self.waiting_for_limit > 0

    @property
    def wait(self) -> float:
        """The seconds within which the backlog should start."""
        return BATCH_WAIT if self.target_wait is None else self.target_wait

    @property
    def steady_slots(self) -> float:
        """Slots that keep up with the arrivals.

        Jobs that run for longer than arrivals are averaged bound this by their number. A few of them at once would look like a
        high rate.
        """
        wanted = wanted_slots(self.arrivals, self.run_time)
        if self.run_time > MAX_RATE_WINDOW:
            wanted = min(wanted, (self.running + self.ready) / TARGET_UTILISATION)
        return wanted

    @property
    def wanted_slots(self) -> float:
        """Slots of all processes that should run jobs of this queue. A job needs one slot, however long it runs."""
        jobs = self.running + self.ready
        if self.paused:
            return self.running
        with_backlog = wanted_slots(self.arrivals, self.run_time, backlog=self.ready, target_wait=self.wait)
        wanted = max(self.steady_slots, min(with_backlog, jobs))
        return min(wanted, jobs) if self.held else wanted

    @property
    def reason(self) -> str:
        """What decides the wanted slots, as a clause."""
        if self.paused:
            return f"{self.name} is paused"
        count = math.ceil(self.wanted_slots - _ROUNDING)
        slots = "1 slot" if count == 1 else f"{count:,} slots"
        if self.held:
            return f"{self.name}: a limit leaves work for {slots}"
        if self.wanted_slots > self.steady_slots:
            return f"{self.name}: {self.ready:,} ready, to start within {duration_text(self.wait)}, need {slots}"
        run_time = duration_text(self.run_time) if self.run_time >= 0.1 else f"{self.run_time * 1000:.0f} ms"
        return f"{self.name}: {rate_text(self.arrivals) or '0/s'} of {run_time} need {slots}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How many processes a load wants, and why. `busy` processes would be enough for the running jobs.

    `predicted_wait` is how many seconds a new job would wait now. `capped_by` is the limit, or `MAXIMUM`, without which there would
    be more processes; else it is empty.
    """

    wanted: int
    busy: int
    predicted_wait: float
    reason: str
    capped_by: str = ""


def decide(loads: Sequence[QueueLoad], bounds: Bounds, *, slots: int, running: int, processes: int) -> Decision:
    """Return how many processes these queues want. Each process has `slots`; `running` jobs are in the `processes` that exist.

    Never less than the processes that the running jobs keep busy, and always within the bounds.
    """
    needed = max(
        sum(load.wanted_slots * load.share for load in loads) / slots,
        max((load.wanted_slots * load.share / min(load.slots, slots) for load in loads), default=0.0),
    )
    by_load, busy = math.ceil(needed - _ROUNDING), math.ceil(running / slots)
    wanted = bounds.clamp(max(by_load, busy))
    work = sum(load.ready * load.run_time * load.share for load in loads if not load.paused)
    largest = max(loads, key=lambda load: load.wanted_slots * load.share, default=None)
    capped_by = MAXIMUM if by_load > bounds.most else next((load.limit for load in loads if load.held), "")
    return Decision(
        wanted=wanted,
        busy=busy,
        predicted_wait=work / (slots * max(processes, 1)),
        reason=_reason(largest, by_load, busy, bounds),
        capped_by=capped_by,
    )


def _reason(largest: QueueLoad | None, by_load: int, busy: int, bounds: Bounds) -> str:
    if busy > by_load:
        return "1 process is busy" if busy == 1 else f"{busy} processes are busy"
    if largest is None or not largest.wanted_slots:
        return "no load"
    if by_load > bounds.most:
        return f"{largest.reason}; at most {bounds.most} processes"
    return f"{largest.reason}, limit {largest.limit}" if largest.held and largest.limit else largest.reason


class DownWindow:
    """Delays a smaller number until it was enough for `DOWN_WINDOW` seconds. Times are of one clock that never goes back."""

    def __init__(self) -> None:
        self._wanted: deque[tuple[float, int]] = deque()

    def hold(self, at: float, current: int) -> None:
        """Record that the current number counts as wanted, because nothing is known about the load at this time."""
        self._forget_before(at - DOWN_WINDOW)
        self._wanted.append((at, current))

    def number(self, at: float, wanted: int, current: int) -> int:
        """Return the highest number that was wanted within the window. Before that, the current number counts as wanted."""
        self._forget_before(at - DOWN_WINDOW)
        if not self._wanted:
            self._wanted.append((at, current))
        self._wanted.append((at, wanted))
        return max(number for _, number in self._wanted)

    def _forget_before(self, at: float) -> None:
        while self._wanted and self._wanted[0][0] < at:
            self._wanted.popleft()
