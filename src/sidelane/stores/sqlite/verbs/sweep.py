"""sweep: all work that depends on time. Any process may run a sweep at any time (rules 5 to 7 and 11)."""

from collections.abc import Sequence

from sidelane.model.ids import new_epoch
from sidelane.model.job import Failure
from sidelane.model.worker import SweepResult
from sidelane.stores.problems import NOT_ANSWERED, WORKER_LOST
from sidelane.stores.serialization import load_worker
from sidelane.stores.sqlite import blocked_jobs, history, limit_overrides, paused_batches
from sidelane.stores.sqlite.enqueue import promote_due
from sidelane.stores.sqlite.finalize import cancel_children, cancel_job, expire, lose_lease
from sidelane.stores.sqlite.limits import clamp_rates
from sidelane.stores.sqlite.retention import prune
from sidelane.stores.sqlite.rows import row_by_seq
from sidelane.stores.sqlite.sql import Transaction, statements
from sidelane.stores.sqlite.verbs.heartbeat import delete_worker
from sidelane.stores.sqlite.verbs.query import stats

SQL = statements(__file__)

_MAX_CLAMPED = 1000  # rows shortened together after the clock went back


def sweep(tx: Transaction, lease: float, limit: int) -> SweepResult:
    """End expired leases, finish expired jobs, make due jobs ready, and remove jobs whose retention has passed."""
    sweep, ended_before = _Sweep(tx, limit), len(tx.changes.ended)
    ended = sweep.expire_jobs()
    lost = sweep.expire_workers(tx.all(SQL.reported_workers))
    if sweep.may_expire_leases(lease):
        lost += (
            sweep.expire_workers(tx.all(SQL.dead_workers, tx.now))
            + sweep.expire_leases()
            + sweep.expire_external_jobs()
        )
        ended += sweep.cancel_abandoned()
    sweep.promote_due()
    sweep.cancel_children()
    sweep.unblock()
    pruned = prune(tx, limit)
    sweep.keep_history()
    next_loss = min((at for (at,) in tx.all(SQL.next_expiry) if at is not None), default=None)
    (next_firing,) = tx.one(SQL.next_schedule)
    return SweepResult(
        lost=lost, ended=ended, removed=pruned.jobs, more=sweep.more or pruned.more,
        next_loss=None if next_loss is None else max(0.0, next_loss - tx.now),
        next_firing=None if next_firing is None else next_firing - tx.now,
        ended_jobs=tuple(tx.changes.ended[ended_before:]),
    )  # fmt: skip


class _Sweep:
    """One sweep in progress. `more` is whether a step reached its limit."""

    def __init__(self, tx: Transaction, limit: int) -> None:
        self.more = False
        self._tx = tx
        self._limit = limit

    def may_expire_leases(self, lease: float) -> bool:
        """Record the time of this sweep, and return whether leases and listeners may expire now (rule 5).

        After a long time without a sweep (a restart, a suspended machine, a change of the clock), nothing expires for a whole
        lease.
        """
        last_sweep, not_before = self._tx.one(SQL.times)
        now = self._tx.now
        if last_sweep is not None and last_sweep > now:
            if not self._clamp():
                return False
            not_before = min(not_before, now + lease)
            self._tx.execute(SQL.set_time, "no_expiry_before", not_before)
        elif last_sweep is None or now - last_sweep > lease / 2:
            self._clamp_rates()
            not_before = now + lease
            self._tx.execute(SQL.set_time, "no_expiry_before", not_before)
        self._tx.execute(SQL.set_time, "last_sweep", now)
        return bool(now >= not_before)

    def _clamp(self) -> bool:
        """Shorten leases, delays and deadlines that last too long since the clock went back. Return whether that is complete."""
        self._tx.execute(SQL.clamp_workers, self._tx.now)
        for statement in (SQL.clamp_leases, SQL.clamp_delays, SQL.clamp_listeners, SQL.clamp_deadlines):
            if self._tx.execute(statement, self._tx.now, _MAX_CLAMPED) == _MAX_CLAMPED:
                self.more = True
        self._clamp_rates()
        return not self.more

    def _clamp_rates(self) -> None:
        if clamp_rates(self._tx, _MAX_CLAMPED):
            self.more = True

    def expire_workers(self, dead: Sequence[tuple[str, str | None]]) -> int:
        """End the leases of dead workers, given by id and description, and delete each worker after its last lease."""
        lost = 0
        for worker, info in dead:
            found = self._tx.all(SQL.jobs_of_worker, worker, self._limit - lost)
            lost += self._lose_leases(found, load_worker(info).exit if info else "")
            if lost >= self._limit:
                break  # this worker may have more leases, so the next sweep must find it
            delete_worker(self._tx, worker)
        return lost

    def expire_leases(self) -> int:
        """End expired leases whose worker was deleted, or is alive and does not renew them."""
        return self._lose_leases(self._tx.all(SQL.expired_leases, self._tx.now, self._limit))

    def expire_external_jobs(self) -> int:
        return self._lose_leases(self._tx.all(SQL.expired_external_jobs, self._tx.now, self._limit))

    def expire_jobs(self) -> int:
        """Finish queued jobs whose deadline or time to start has passed, and return how many."""
        expired = self._tx.all(SQL.expired_jobs, self._tx.now, self._limit)
        for (seq,) in expired:
            expire(self._tx, seq)
        self.more = self.more or len(expired) == self._limit
        return len(expired)

    def cancel_abandoned(self) -> int:
        """Cancel jobs that have had no listener for too long, and return how many this has finished."""
        abandoned = self._tx.all(SQL.abandoned_jobs, self._tx.now, self._limit)
        ended = 0
        for (seq,) in abandoned:
            ended += cancel_job(self._tx, row_by_seq(self._tx, seq))
            self._tx.execute(SQL.clear_abandon, seq)
        self.more = self.more or len(abandoned) == self._limit
        return ended

    def promote_due(self) -> None:
        """Make delayed jobs ready that are due."""
        remaining = self._limit
        for (queue,) in self._tx.all(SQL.queues):
            remaining -= promote_due(self._tx, queue, remaining)
            if remaining <= 0:
                self.more = True
                return

    def cancel_children(self) -> None:
        """Cancel children of cancelled jobs if there were too many for one step."""
        if cancel_children(self._tx, self._limit):
            self.more = True

    def unblock(self) -> None:
        """Unblock jobs of changed limits, of rates that are due, and behind jobs that no worker claims. Resume jobs of batches."""
        limit_overrides.delete_ended(self._tx)
        if blocked_jobs.unblock_changed(self._tx, self._limit):
            self.more = True
        if blocked_jobs.unblock_due(self._tx, self._limit):
            self.more = True
        blocked_jobs.unblock_beyond_reserved(self._tx, self._limit)
        if paused_batches.resume_jobs(self._tx, self._limit):
            self.more = True

    def keep_history(self) -> None:
        """Roll up the history of past minutes, and sample the depth of queues."""
        self._tx.series_ids.clear()
        history.trim_users(self._tx)
        if history.is_sample_due(self._tx):
            history.sample(self._tx, stats(self._tx))
        if history.roll_up(self._tx):
            self.more = True

    def _lose_leases(self, found: Sequence[tuple[int]], cause: str = "") -> int:
        """End leases as lost, and return their number. The cause of the loss makes no difference (rule 7)."""
        for (seq,) in found:
            row = row_by_seq(self._tx, seq)
            problem = NOT_ANSWERED if row.external else WORKER_LOST
            lose_lease(self._tx, row._replace(epoch=new_epoch()), Failure(problem=problem, error=cause))
        self.more = self.more or len(found) >= self._limit
        return len(found)
