"""Workers as a store sees them: their description, claims, and statistics."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sidelane.model.job import JobRecord, JobSpec, Lease
from sidelane.model.worker_request import WorkerAction

WORKER = "worker"
API = "api"
"""The kinds of processes that send heartbeats."""

OK = "ok"
STOPPED = "stopped"
"""The health in a worker's last heartbeat, after which the store deletes it."""

WORKER_EXITS: Final = "worker_exits"
"""Name of the journal of workers whose process died, which keeps the last `MAX_WORKER_EXITS`.

Each entry is a JSON object: `worker` (id), `host`, `release`, `reason` ("signal SIGKILL, out of memory"), `memory` (bytes, at its
last heartbeat), and `jobs`, the ids of at most `MAX_EXIT_JOBS` jobs that it was running.
"""

MAX_WORKER_EXITS: Final = 1000
MAX_EXIT_JOBS: Final = 50


MAX_LISTENED = 300
"""Jobs of which one heartbeat says how many listen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """One process, as described in its heartbeats. `tasks` maps each name to the newest version that the worker has.

    An API process has the kind `API`, and no queues, tasks or slots.
    """

    id: str
    name: str
    host: str = ""
    pid: int = 0
    queues: Mapping[str, int] = field(default_factory=dict)  # slots by queue
    tasks: Mapping[str, int] = field(default_factory=dict)
    slots: int = 0
    running: int = 0
    started: float = 0.0
    health: str = OK  # else the error, in a sentence
    memory: int = 0  # resident bytes of its process
    cpu: float = 0.0  # as a fraction of a core
    kind: str = WORKER
    release: str = ""
    loop_lag: float = 0.0  # seconds that its event loop lately came too late
    streams: int = 0  # event streams that it serves now
    listeners: Mapping[str, int] = field(default_factory=dict)  # by job, of the `MAX_LISTENED` jobs with most
    isolation: bool = False  # it runs isolated jobs only
    restartable: bool = False  # its process runs nothing else, and may be replaced
    request: str = ""  # what operators have asked of it, and it does: "drain" or "restart"
    exit: str = ""  # how its process died, e.g. "signal SIGKILL", as another process reports it

    @property
    def takes_jobs(self) -> bool:
        """Whether the worker takes ordinary jobs, unless it has an error."""
        return self.kind == WORKER and not self.isolation and self.request != WorkerAction.DRAIN

    def can_run(self, spec: JobSpec) -> bool:
        """Return whether this worker would run a job of this task and queue, unless the job is isolated."""
        return self.takes_jobs and spec.queue in self.queues and self.tasks.get(spec.task, 0) >= spec.version


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """The jobs that a worker can start now. A repeated claim with the same `request` returns the same jobs (rule 3).

    `queues` maps names to free slots, and the store tries the queues in order. `tasks` maps names to the newest version that the
    worker has (None: any). `ids` claims only these jobs, isolated or not. Without `ids`, `isolated` claims either only isolated
    jobs or none (rule 7). `full` are queues of the worker without a free slot, for which it needs no notifications.
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
    release: str = ""  # of the worker


@dataclass(frozen=True, slots=True)
class Claimed:
    """One claimed job with its lease. `remaining` is the number of seconds to its deadline.

    `offered` is true if the job was dispatched to this worker as a message. The sender then counts the failures, and `remaining` is
    the time for this attempt alone. `waited` is the number of seconds from when the job was able to start, and `paused` that of
    those before in which its queue was paused (None: the source does not tell).
    """

    record: JobRecord
    lease: Lease
    remaining: float | None = None
    offered: bool = False
    waited: float | None = field(default=None, compare=False)  # a repeated claim does not tell either
    paused: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Claims:
    """The answer to a claim. `next_due` is the number of seconds until the next delayed job of these queues is due, if any.

    `isolated` is true if the claim was for ordinary jobs, and an isolated job of a task that the worker has is ready.
    """

    jobs: tuple[Claimed, ...] = ()
    next_due: float | None = None
    isolated: bool = False
    expired: tuple[str, ...] = ()  # ids of jobs that the claim has ended instead, because it was too late to start them


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStats:
    """Statistics of one queue. `oldest` is how long its oldest ready job has waited, in seconds.

    `rate` is how many of its jobs start per second, averaged over about a minute. `head_wait` is the longest time for which the
    first ready job of a user has been the first (without a user: has been ready). It leaves out a user who has most of the
    running jobs, whose next job waits for these. No time counts in which a job waits for a limit, its due time or a pause.
    `head_wait` and `waiting_tasks` are about jobs that are not isolated.
    """

    name: str
    paused: bool = False
    ready: int = 0
    delayed: int = 0
    waiting_for_limit: int = 0
    waiting_for_batch: int = 0  # a claim has found that their batches are paused
    running: int = 0
    oldest: float | None = None
    rate: float = 0.0
    head_wait: float | None = None
    isolated: int = 0  # of the ready jobs
    waiting_tasks: Mapping[str, int] = field(default_factory=dict)  # newest version by task, of some first ready jobs

    @property
    def queued(self) -> int:
        """Number of queued jobs: ready, delayed, or waiting for a limit or for their batch."""
        return self.ready + self.delayed + self.waiting_for_limit + self.waiting_for_batch


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """The position of a ready job: the jobs before it, and its estimated wait in seconds at the queue's current rate."""

    before: int
    wait: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitStats:
    """Statistics of one limit: `used` of its `max` slots are in use and `waiting` jobs wait for one.

    For a rate, `used` is the used part of the burst, and `available_in` is the number of seconds until the rate allows one more
    job.
    """

    id: str
    max: int
    used: int = 0
    waiting: int = 0
    available_in: float | None = None


@dataclass(frozen=True, slots=True)
class SweepResult:
    """The result of one sweep."""

    lost: int = 0  # leases that expired
    ended: int = 0  # jobs ended by their deadline, their expiry, or for lack of listeners
    removed: int = 0  # finished jobs whose retention had passed
    more: bool = False  # another sweep has work immediately
    next_loss: float | None = None  # seconds until the first lease expires, unless its worker renews it
    next_firing: float | None = None  # seconds until the next run of a schedule; 0 or less: now
    ended_jobs: tuple[str, ...] = ()  # ids of the jobs that this sweep has ended for any reason
