"""claim: start ready jobs, each under a new lease."""

from collections.abc import Sequence

from sidelane.model.history import Count, add, add_duration, milliseconds
from sidelane.model.ids import new_epochs, new_nonces
from sidelane.model.limit import LimitHit
from sidelane.model.transition import Change, dump_transition
from sidelane.model.worker import Claimed, ClaimRequest, Claims
from sidelane.stores.sqlite import blocked_jobs, fair_queue, history, limits, paused_batches
from sidelane.stores.sqlite.enqueue import promote_due
from sidelane.stores.sqlite.fair_queue import Candidate, FairSelection, UserQueue
from sidelane.stores.sqlite.finalize import expire
from sidelane.stores.sqlite.limits import CHECKED_AT_START, AppliedLimits, LimitCapacity
from sidelane.stores.sqlite.rows import StartedJob, started_job
from sidelane.stores.sqlite.sql import Transaction, statements
from sidelane.stores.sqlite.throughput import count_starts

SQL = statements(__file__)

_MAX_SKIPPED = 200  # jobs that one claim promotes, expires, pauses or blocks


def claim(tx: Transaction, request: ClaimRequest) -> Claims:
    """Start up to `request.limit` jobs. A repeated request gets the same jobs again."""
    claimed_before = [seq for (seq,) in tx.all(SQL.claimed_before, request.worker, request.request)]
    if claimed_before:
        return Claims(tuple(_claimed(tx, started_job(tx, seq)) for seq in claimed_before))
    paused_batches.resume_jobs(tx)
    if request.tasks is not None and not request.tasks:  # a drained worker must not search a whole queue
        return Claims()
    claim, ended_before = _Claim(tx, request), len(tx.changes.ended)
    if request.ids:
        claim.take_ids(request.ids)
        return Claims(claim.claimed(), expired=tuple(tx.changes.ended[ended_before:]))
    open_queues = [queue for queue in request.queues if claim.may_take_from(queue)]
    for queue in open_queues:
        claim.take_from(queue, request.queues[queue])
    return Claims(
        claim.claimed(), claim.next_due(open_queues), claim.has_isolated_jobs(open_queues),
        expired=tuple(tx.changes.ended[ended_before:]),
    )  # fmt: skip


class _Claim:
    """One claim in progress: a filter for `FairSelection`.

    A claim collects the jobs that have expired, are in a paused batch, or exceed a limit.
    """

    def __init__(self, tx: Transaction, request: ClaimRequest) -> None:
        self._tx = tx
        self._request = request
        self._seqs: list[int] = []  # started jobs
        self._capacity = LimitCapacity(tx)
        self._limits: dict[int, AppliedLimits] = {}  # by seq, of accepted jobs
        self._tasks: dict[int, str] = {}  # by seq, of taken jobs
        self._expired: list[int] = []
        self._exceeding: list[tuple[int, LimitHit]] = []
        self._has_paused_batches = paused_batches.any_is_paused(tx)
        self._paused: list[int] = []  # jobs of paused batches
        self._skipped = 0
        self._pauses: dict[str, tuple[float, float]] = {}  # begin and end of the last pause by queue
        self._unblocked = dump_transition(Change.UNBLOCKED, tx.now)

    def accepts(self, candidate: Candidate) -> bool:
        """Return whether the worker may run this job now."""
        if not self._has_task(candidate.task, candidate.version):
            return False
        if candidate.expires_at is not None and candidate.expires_at <= self._tx.now:
            if not self.exhausted:
                self._expired.append(candidate.seq)
                self._skipped += 1
            return False
        if self._has_paused_batches and paused_batches.is_paused(self._tx, candidate.seq):
            if not self.exhausted:
                self._paused.append(candidate.seq)
                self._skipped += 1
            return False
        return not candidate.limit_flags & CHECKED_AT_START or self._is_within_limits(candidate.seq)

    def take(self, candidate: Candidate) -> None:
        self._tasks[candidate.seq] = candidate.task
        if candidate.limit_flags & CHECKED_AT_START:
            self._capacity.take(self._limits[candidate.seq].at_start)

    @property
    def exhausted(self) -> bool:
        return self._skipped >= _MAX_SKIPPED

    def may_take_from(self, queue: str) -> bool:
        """Return whether a queue is not paused."""
        paused, *pause = self._tx.first(SQL.queue, queue) or (0, 0.0, 0.0)
        self._pauses[queue] = (pause[0], pause[1])
        return not paused

    def take_from(self, queue: str, maximum: int) -> None:
        """Start up to `maximum` jobs of a queue."""
        due = self._next_due(queue)
        if due is not None and due <= self._tx.now:
            promote_due(self._tx, queue, _MAX_SKIPPED)
            blocked_jobs.unblock_due(self._tx, _MAX_SKIPPED)
        free = min(maximum, self._request.limit - len(self._seqs))
        before = len(self._seqs)
        isolated = int(self._request.isolated)
        for priority in fair_queue.priorities(self._tx, queue, isolated) if free > 0 else ():
            selection = FairSelection(self._tx, queue, isolated, priority)
            selected = selection.select(free, self)
            self._start(queue, selected)
            selection.flush()
            self._process_skipped()
            free -= len(selected)
            if free <= 0 or self.exhausted:
                break
        count_starts(self._tx, queue, len(self._seqs) - before)

    def take_ids(self, ids: Sequence[str]) -> None:
        """Start exactly these jobs, regardless of order, if the worker may run them."""
        for job_id in dict.fromkeys(ids):
            found = self._tx.first(SQL.candidate, job_id, self._tx.now)
            if len(self._seqs) >= self._request.limit or found is None:
                continue
            user_queue, candidate = UserQueue(*found[:4]), Candidate(*found[4:])
            if self.accepts(candidate) and self.may_take_from(user_queue.queue):
                self.take(candidate)
                self._start(user_queue.queue, [candidate.seq])
                fair_queue.remove(self._tx, user_queue, candidate.seq)
                count_starts(self._tx, user_queue.queue, 1)
        self._process_skipped()

    def next_due(self, queues: Sequence[str]) -> float | None:
        """Return the seconds until the next job of these queues is due, or 0 if the claim stopped early."""
        if self.exhausted:
            return 0.0
        due = [at for queue in queues if (at := self._next_due(queue)) is not None]
        return max(0.0, min(due) - self._tx.now) if due else None

    def has_isolated_jobs(self, queues: Sequence[str]) -> bool:
        """Return whether an isolated job is ready that this worker can run and has not requested."""
        return not self._request.isolated and any(
            self._has_task(task, version)
            for queue in queues
            for task, version in self._tx.all(SQL.isolated_tasks, queue)
        )

    def claimed(self) -> tuple[Claimed, ...]:
        """Count the started jobs, and return them with their leases."""
        jobs = [started_job(self._tx, seq) for seq in self._seqs]
        self._tx.changes.jobs.update([job.record.id for job in jobs])
        return tuple(_claimed(self._tx, job, *self._count(job)) for job in jobs)

    def _count(self, job: StartedJob) -> tuple[float, float]:
        """Count the start of a job, and how long it waited. Return `Claimed.waited` and `Claimed.paused`."""
        now, counts, able = self._tx.now, history.counts_of(self._tx, job.series), job.able_since
        paused = 0.0
        add(counts, Count.STARTED, 1)
        if job.blocked_at is not None:
            add(counts, Count.LIMIT_WAIT_MS, milliseconds(now - job.blocked_at))
            able = now
        elif (pause := self._pauses[job.record.spec.queue])[1] > able:
            began, resumed = pause
            paused = max(0.0, min(resumed, now) - max(able, began))
            add(counts, Count.PAUSE_WAIT_MS, milliseconds(paused))
            able = resumed
        add_duration(counts, Count.WAIT, now - able)
        return max(0.0, now - able), paused

    def _start(self, queue: str, selected: Sequence[int]) -> None:
        """Start the next attempt of each selected job of a queue, under a new lease."""
        if not selected:
            return
        request = self._request
        expires = self._tx.now + request.lease
        tasks = {self._tasks[seq] for seq in selected}
        series = {task: history.series_id(self._tx, queue, task, request.release) for task in tasks}
        leases = zip(selected, new_nonces(len(selected)), new_epochs(len(selected)), strict=True)
        self._tx.execute_many(
            SQL.start,
            [
                (
                    seq, self._tx.now, expires, request.lease, request.worker, request.request, position, nonce, epoch,
                    series[self._tasks[seq]], request.release, self._unblocked,
                )
                for position, (seq, nonce, epoch) in enumerate(leases, len(self._seqs))
            ],
        )  # fmt: skip
        limits.acquire_running(self._tx, [(seq, self._limits[seq]) for seq in selected if seq in self._limits])
        self._capacity.flush()
        if not self._seqs:
            self._tx.execute(SQL.renew_worker, request.worker, expires, request.lease)
        self._seqs += selected

    def _has_task(self, task: str, version: int) -> bool:
        tasks = self._request.tasks
        return tasks is None or tasks.get(task, version - 1) >= version

    def _is_within_limits(self, seq: int) -> bool:
        """Return whether the limits of a job allow its start.

        Otherwise the job will be blocked on the first limit that does not.
        """
        if seq not in self._limits:
            self._limits[seq] = limits.applied_limits_of_job(self._tx, seq)
        exceeded = self._capacity.exceeded(self._limits[seq].at_start)
        if exceeded and not self.exhausted:
            self._exceeding.append((seq, exceeded[0]))
            self._skipped += 1
        return not exceeded

    def _process_skipped(self) -> None:
        """Finish expired jobs, pause those of paused batches, and block those that exceed a limit."""
        self._capacity.flush()  # it may have found that the clock went back
        for seq in self._expired:
            expire(self._tx, seq)
        self._expired.clear()
        paused_batches.pause_jobs(self._tx, self._paused)
        self._paused.clear()
        blocked_jobs.block(self._tx, self._exceeding)
        self._exceeding.clear()

    def _next_due(self, queue: str) -> float | None:
        """Return when the next delayed job of a queue is due, or when a rate unblocks a job."""
        due: float | None = self._tx.scalar(SQL.next_due, queue)
        unblocks = blocked_jobs.next_unblock(self._tx, queue)
        return unblocks if due is None else due if unblocks is None else min(due, unblocks)


def _claimed(tx: Transaction, job: StartedJob, waited: float | None = None, paused: float = 0.0) -> Claimed:
    remaining = None if job.deadline_at is None else job.deadline_at - tx.now
    return Claimed(job.record, job.lease, remaining, waited=waited, paused=paused)
