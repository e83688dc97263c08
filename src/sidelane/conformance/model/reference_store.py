"""Reference store: the contract in plain Python, small enough to be read as its definition.

It does not define the order of users (see `fairness`) or of blocked jobs (see `blocked_jobs`), nor what the contract leaves open.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from sidelane.conformance.model.reference_job import ExpectedEvent, ReferenceBatch, ReferenceJob
from sidelane.model.batch import BatchSpec
from sidelane.model.event import END, NewEvent, gap_event
from sidelane.model.job import REMOVED, UNFINISHED, JobSpec, Lease, State
from sidelane.model.limit import Limit
from sidelane.model.limit_override import LimitOverride
from sidelane.model.outcome import (
    AttemptResult,
    Cancelled,
    Dispatched,
    EventAppend,
    Failed,
    LeaseStatus,
    Lost,
    Outcome,
    Released,
    Retried,
    Succeeded,
)
from sidelane.model.worker import Claimed, ClaimRequest


class ReferenceStore:
    """A model of a store, with the same methods."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.jobs: dict[str, ReferenceJob] = {}
        self.batches: dict[str, ReferenceBatch] = {}
        self.used: dict[str, float] = {}  # of each rate: the theoretical arrival time (GCRA)
        self.paused: set[str] = set()
        self.overrides: dict[str, LimitOverride] = {}  # by id
        self.expire_after = 0.0  # listeners and external jobs do not expire before this time (rule 5)

    def submit(self, spec: JobSpec) -> tuple[str, bool] | frozenset[int]:
        """Return the id of the new or existing job and whether it is new, or the possible statuses of the rejection."""
        if spec.id in self.jobs:
            return spec.id, False
        if holder := self._holder(spec):
            return holder, False
        if rejections := self._rejections(spec):
            return rejections
        now = self._clock()
        self.jobs[spec.id] = ReferenceJob(spec=spec, submitted=now, due=now + spec.delay)
        for limit in spec.limits:
            if not limit.at_start:
                self._debit(limit)
            if limit.on_limit == "replace":
                self._replace(limit, spec.id)
        return spec.id, True

    def _rejections(self, spec: JobSpec) -> frozenset[int]:
        batch = self.batches.get(spec.batch or "")
        queued = [job for job in self.jobs.values() if job.state is State.QUEUED and job.spec.queue == spec.queue]
        reasons = {
            422: spec.batch is not None and batch is None,
            409: batch is not None and batch.sealed,
            503: spec.max_queued is not None and len(queued) >= spec.max_queued,
            429: any(self.is_full(limit) for limit in spec.limits if not limit.at_start),
        }
        return frozenset(status for status, applies in reasons.items() if applies)

    def _replace(self, limit: Limit, new_id: str) -> None:
        others = [
            job
            for job in self.jobs.values()
            if limit in job.spec.limits
            and job.state in UNFINISHED
            and not job.cancel_requested
            and job.spec.id != new_id
        ]
        for job in others[: max(0, len(others) - self.slots(limit) + 1)]:
            self.cancel(job.spec.id)

    def members(self, limit_id: str) -> set[str]:
        """Return the jobs with a slot: running ones if it is acquired at the start, otherwise unfinished ones."""
        return {
            job.spec.id
            for job in self.jobs.values()
            for limit in job.spec.limits
            if limit.id == limit_id and limit.window is None
            if (job.state is State.RUNNING if limit.at_start else job.state in UNFINISHED)
        }

    def slots(self, limit: Limit) -> int:
        return _slots_in_force(limit, self.overrides, self._clock())

    def is_full(self, limit: Limit) -> bool:
        """Return True if the limit admits no more."""
        if limit.every is None:
            return len(self.members(limit.id)) >= self.slots(limit)
        return self._used(limit) - self._clock() > (limit.burst - 1) * limit.every + 1e-9

    def is_blocked(self, spec: JobSpec) -> bool:
        """Return True if a limit blocks the start of such a job."""
        return any(self.is_full(limit) for limit in spec.limits if limit.at_start)

    def _used(self, limit: Limit) -> float:
        now = self._clock()
        return min(max(self.used.get(limit.id, now), now), now + limit.burst * (limit.every or 0.0))

    def _debit(self, limit: Limit) -> None:
        if limit.every is not None:
            self.used[limit.id] = self._used(limit) + limit.every

    def _holder(self, spec: JobSpec) -> str | None:
        for job in self.jobs.values():
            same = (job.spec.user, job.spec.unique) == (spec.user, spec.unique)
            if spec.unique is not None and same and job.state in UNFINISHED:
                return job.spec.id
        return None

    def claimable(self, request: ClaimRequest) -> list[ReferenceJob]:
        """Return the jobs that a claim may start."""
        now = self._clock()
        return [
            job
            for job in self.jobs.values()
            if job.state is State.QUEUED
            and job.due <= now
            and not job.is_expired(now)
            and job.spec.queue not in self.paused
            and (job.spec.id in request.ids or (not request.ids and job.isolated == request.isolated))
            and (request.ids or job.spec.queue in request.queues)
            and (request.tasks is None or job.spec.version <= request.tasks.get(job.spec.task, 0))
        ]

    def expired(self) -> list[ReferenceJob]:
        now = self._clock()
        return [job for job in self.jobs.values() if job.state is State.QUEUED and job.is_expired(now)]

    def claimed(self, claimed: Claimed, worker: str) -> None:
        job = self.jobs[claimed.record.id]
        job.state, job.worker, job.lease = State.RUNNING, worker, claimed.lease
        job.attempt += 1
        job.finished_lease = None
        job.seen = job.gaps = 0
        for limit in job.spec.limits:
            if limit.at_start:
                self._debit(limit)

    def append(self, append: EventAppend) -> bool:
        """Append, and return whether the lease is valid. Repeated events are ignored; a gap event records missing ones."""
        job = self.jobs.get(append.lease.job_id)
        if job is None or job.lease != append.lease:
            return False
        if append.entries:
            self._append(job, append.ordinal, append.entries)
        return True

    def _append(self, job: ReferenceJob, first: int, entries: Sequence[NewEvent]) -> None:
        missing = first - job.seen - 1
        if missing > 0:
            job.seen = first - 1
            job.gaps += 1
            job.write(gap_event(missing))
        for ordinal, entry in enumerate(entries, first):
            if ordinal > job.seen:
                job.seen = ordinal
                job.write(entry)

    def finish(self, report: AttemptResult) -> bool:
        """Return whether the result counts, and finish or requeue the job."""
        job = self.jobs.get(report.lease.job_id)
        if job is None or job.lease != report.lease:
            return job is not None and job.finished_lease == report.lease
        if isinstance(report.outcome, Dispatched) and job.external_lease is not None:
            return True
        self._append(job, report.ordinal, report.entries)
        if isinstance(report.outcome, Dispatched) and not job.cancel_requested:
            job.worker, job.external_lease = None, self._clock() + report.outcome.timeout
            self.submit(report.outcome.sending)
            return True
        job.finished_lease = report.lease
        job.reported.add(report.lease)
        self._apply(job, report.outcome)
        return True

    def _apply(self, job: ReferenceJob, outcome: Outcome) -> None:
        match outcome:
            case Succeeded(result):
                job.result = result
                self.end(job, State.SUCCEEDED)
            case Failed():
                self.end(job, State.FAILED)
            case Cancelled() | Dispatched():
                self.end(job, State.CANCELLED)
            case Retried(_, delay):
                job.failures += 1
                self._return_to_queue(job, delay)
            case Released(delay):
                self._return_to_queue(job, delay)
            case Lost():
                self.lose([job])

    def _return_to_queue(self, job: ReferenceJob, delay: float) -> None:
        if job.cancel_requested:
            self.end(job, State.CANCELLED)
        else:
            job.state, job.worker, job.lease, job.external_lease = State.QUEUED, None, None, None
            job.due = self._clock() + delay

    def end(self, job: ReferenceJob, state: State) -> None:
        """Finish a job: its end event, follow-ups, cascading children, and its batch if this was the last job."""
        job.state, job.worker, job.lease, job.external_lease, job.cancel_requested = state, None, None, None, False
        job.ended = self._clock()
        job.ends += 1
        job.log.append(ExpectedEvent(END, state, (0, 0)))
        for index, follow in enumerate(job.spec.follow_ups):
            if state in follow.on:
                self.submit(replace(follow.spec, id=f"{job.spec.id}.{job.ends}.{index}", parent=job.spec.id))
        if state is State.CANCELLED:
            for child in list(self.jobs.values()):
                if child.spec.cascade and child.spec.parent == job.spec.id:
                    self.cancel(child.spec.id)
        self._end_batch_if_done(job.spec.batch)

    def open_batch(self, spec: BatchSpec) -> None:
        self.batches.setdefault(spec.id, ReferenceBatch(spec=spec))

    def seal_batch(self, batch_id: str) -> None:
        if batch_id in self.batches:
            self.batches[batch_id].sealed = True
            self._end_batch_if_done(batch_id)

    def counts(self, batch_id: str) -> Counter[State]:
        """Count the jobs of a batch by state, including removed ones."""
        return Counter(job.state for job in self.jobs.values() if job.spec.batch == batch_id)

    def _end_batch_if_done(self, batch_id: str | None) -> None:
        """End a batch if it is sealed and all its jobs have finished."""
        batch, counts = self.batches.get(batch_id or ""), self.counts(batch_id or "")
        if batch is None or not batch.sealed or batch.ended or any(counts[state] for state in UNFINISHED):
            return
        batch.ended = True
        batch.ends += 1
        state = State.SUCCEEDED if counts[State.SUCCEEDED] == counts.total() else State.FAILED
        for index, follow in enumerate(batch.spec.follow_ups):
            if state in follow.on:
                self.submit(replace(follow.spec, id=f"{batch_id}.{batch.ends}.{index}"))

    def cancel(self, job_id: str) -> None:
        job = self.jobs.get(job_id)
        if job and (job.state is State.QUEUED or job.external_lease is not None):
            self.end(job, State.CANCELLED)
        elif job and job.state is State.RUNNING:
            job.cancel_requested = True

    def requeue(self, job_id: str, arguments: str | None) -> bool:
        """Return False if the unique key is taken or a limit is full."""
        job = self.jobs[job_id]
        if job.state in UNFINISHED or job.removed:
            return True
        slots = [limit for limit in job.spec.limits if not limit.at_start and limit.window is None]
        if self._holder(job.spec) or any(map(self.is_full, slots)):
            return False
        job.state, job.due, job.result, job.finished_lease = State.QUEUED, self._clock(), None, None
        job.failures = job.worker_losses = 0
        job.isolated = False
        job.spec = job.spec if arguments is None else replace(job.spec, arguments=arguments)
        if job.spec.batch is not None:
            self.batches[job.spec.batch].ended = False
        return True

    def remove(self, job_id: str) -> bool:
        """Return False if there is no job that may be removed."""
        job = self.jobs.get(job_id)
        if job is None or job.removed or job.state in UNFINISHED or job_id in self._with_unfinished_children():
            return False
        self._remove(job)
        return True

    def _remove(self, job: ReferenceJob) -> None:
        job.removed = True
        for index, follow in enumerate(job.spec.follow_ups):
            if follow.on == REMOVED:
                self.submit(replace(follow.spec, id=f"{job.spec.id}.removed.{index}"))

    def _with_unfinished_children(self) -> set[str | None]:
        """Return the ids of jobs with unfinished children."""
        return {job.spec.parent for job in self.jobs.values() if job.state in UNFINISHED}

    def lease_status(self, lease: Lease) -> LeaseStatus:
        job = self.jobs.get(lease.job_id)
        if job is None or job.lease != lease or job.external_lease is not None:
            return LeaseStatus.LOST
        return LeaseStatus.CANCEL if job.cancel_requested else LeaseStatus.HELD

    def touch_listener(self, job_id: str) -> None:
        if job_id in self.jobs:
            self.jobs[job_id].listened = self._clock()

    def overdue(self) -> list[ReferenceJob]:
        """Return the external jobs past their timeout, if they may expire now."""
        now = self._clock()
        overdue = [job for job in self.jobs.values() if job.external_lease is not None and now > job.external_lease]
        return overdue if now >= self.expire_after else []

    def lose(self, jobs: Iterable[ReferenceJob]) -> None:
        """Count a worker loss for each job, and requeue or fail it."""
        for job in list(jobs):
            job.worker_losses += 1
            job.isolated = job.spec.isolable and job.worker_losses >= max(1, min(2, job.spec.max_worker_losses))
            if job.worker_losses > job.spec.max_worker_losses and not job.cancel_requested:
                self.end(job, State.FAILED)
            else:
                self._return_to_queue(job, 0)

    def sweep(self) -> None:
        """Fail expired jobs, cancel abandoned ones, and remove those past their retention. Leases are not included."""
        now = self._clock()
        for job in self.expired():
            self.end(job, State.FAILED)
        for job in list(self.jobs.values()) if now >= self.expire_after else []:
            after = job.spec.abandon_after
            if after is not None and job.listened is not None and now > job.listened + after:
                self.cancel(job.spec.id)
        parents = self._with_unfinished_children()
        for job in list(self.jobs.values()):
            over = job.state.finished and now > job.ended + job.spec.retention
            if over and not job.removed and job.spec.id not in parents:
                self._remove(job)


def _slots_in_force(limit: Limit, overrides: Mapping[str, LimitOverride], now: float) -> int:
    """Return the number of a concurrency limit: of an override of its key, of one of all keys, or its own."""
    found = [each for name in (limit.id, limit.name) if (each := overrides.get(name))]
    return next((each.max for each in found if each.until is None or each.until > now), limit.max)
