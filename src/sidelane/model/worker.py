"""Workers as a store sees them: what they are, what they ask for, what they get."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sidelane.model.job import JobRecord, JobSpec, Lease

OK = "ok"
STOPPED = "stopped"
"""The health of a worker with its last heartbeat: the store forgets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """One worker process, as it describes itself with each heartbeat. `tasks` maps a name to the newest version it knows."""

    id: str
    name: str
    host: str = ""
    pid: int = 0
    queues: Mapping[str, int] = field(default_factory=dict)  # slots by queue
    tasks: Mapping[str, int] = field(default_factory=dict)
    slots: int = 0
    running: int = 0
    started: float = 0.0
    health: str = OK  # else what is wrong, in a sentence
    isolation: bool = False  # it runs isolated jobs only

    def can_run(self, spec: JobSpec) -> bool:
        """Tell whether this worker would run such a job, unless it is isolated."""
        return not self.isolation and spec.queue in self.queues and self.tasks.get(spec.task, 0) >= spec.version


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """What a worker has room for. A repeat under the same `request` gets the same jobs again (rules 3).

    `queues` maps names to free slots, tried in order; `tasks` maps known names to the newest version understood (None: any);
    `ids` takes only these jobs, isolated or not; otherwise `isolated` asks for isolated jobs only, or for none (rules 7).
    `full` are queues that it serves too and has no room for: it need not be woken for them.
    """

    request: str
    worker: str
    queues: Mapping[str, int] = field(default_factory=dict)
    full: tuple[str, ...] = ()
    tasks: Mapping[str, int] | None = None
    ids: tuple[str, ...] = ()
    limit: int = 1
    lease: float = 10.0
    isolated: bool = False


@dataclass(frozen=True, slots=True)
class Claimed:
    """One claimed job with the lease to speak for it. `remaining` is what its deadline leaves, in seconds.

    `offered`: it was handed over to this worker. Whoever did that counts its failures, and `remaining` is what it left for this
    attempt alone.
    """

    record: JobRecord
    lease: Lease
    remaining: float | None = None
    offered: bool = False


@dataclass(frozen=True, slots=True)
class Claims:
    """The answer to a claim. `next_due` is in how many seconds the next waiting job of these queues may start, if any.

    `isolated`: the claim asked for ordinary jobs, and an isolated one is ready whose task the worker knows.
    """

    jobs: tuple[Claimed, ...] = ()
    next_due: float | None = None
    isolated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStats:
    """One queue at a glance. `oldest` is how long its oldest ready job has waited, in seconds.

    `rate` is how many of its jobs start in a second, over the last minute or so.
    """

    name: str
    paused: bool = False
    ready: int = 0
    delayed: int = 0
    waiting_for_limit: int = 0  # at a limit
    running: int = 0
    oldest: float | None = None
    rate: float = 0.0

    @property
    def queued(self) -> int:
        """How many jobs wait, for whatever reason."""
        return self.ready + self.delayed + self.waiting_for_limit


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """Where a ready job stands: how many stand before it, and how long it may wait (seconds) as fast as its queue moves."""

    before: int
    wait: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitStats:
    """One limit in use: `held` of its `most` slots are taken and `parked` jobs wait for one.

    Of a rate, `held` is how much of the burst is used up, and `after` when one more may come, in seconds.
    """

    id: str
    most: int
    held: int = 0
    waiting: int = 0
    after: float | None = None


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What one sweep did."""

    lost: int = 0  # leases swept away
    ended: int = 0  # jobs ended by their deadline, start-within or want of listeners
    removed: int = 0  # finished jobs whose retention had passed
    more: bool = False  # another sweep has work right now
    next_loss: float | None = None  # seconds until the first lease ends, unless its worker renews it
    next_firing: float | None = None  # seconds until a schedule is to fire; 0 or less: now
