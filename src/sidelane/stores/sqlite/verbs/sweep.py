"""sweep: do what time asks for. Any process may, at any time (rules 5 to 7, 11)."""

from collections.abc import Sequence

import apsw

from sidelane.model.ids import new_epoch
from sidelane.model.job import Failure
from sidelane.model.worker import SweepResult
from sidelane.stores.contract import worker_topic
from sidelane.stores.problems import NOT_ANSWERED, WORKER_LOST
from sidelane.stores.sqlite import blocked_jobs, rates
from sidelane.stores.sqlite.cascade import cancel_children
from sidelane.stores.sqlite.finalize import expire
from sidelane.stores.sqlite.losing import lose_lease
from sidelane.stores.sqlite.promotion import promote_due
from sidelane.stores.sqlite.records import row_by_seq
from sidelane.stores.sqlite.retention import prune
from sidelane.stores.sqlite.sql import all_rows, one
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.stopping import cancel_job
from sidelane.stores.sqlite.touched import ChangeSet

_SQL = statements(__file__)
_TIMES = _SQL["times"]
_SET_TIME = _SQL["set_time"]
_CLAMP_WORKERS = _SQL["clamp_workers"]
_CLAMPS = [_SQL[each] for each in ("clamp_leases", "clamp_delays", "clamp_listeners", "clamp_deadlines")]
_DEAD = _SQL["dead"]
_NEXT_DEAD = _SQL["next_dead"]
_NEXT_FIRING = _SQL["next_firing"]
_FORGET_WORKER = _SQL["forget_worker"]
_FORGET_MARK = _SQL["forget_mark"]
_LEASES = _SQL["leases"]
_LEFT_BEHIND = _SQL["left_behind"]
_UNANSWERED = _SQL["unanswered"]
_LATE = _SQL["late"]
_ABANDONED = _SQL["abandoned"]
_NO_LISTENER = _SQL["no_listener"]
_QUEUES = _SQL["queues"]

_CLAMPED = 1000  # at once, after the clock has stepped back


def sweep(connection: apsw.Connection, now: float, touched: ChangeSet, lease: float, limit: int) -> SweepResult:
    """Take back expired leases, end what is too late, make ready what is due, forget what was kept long enough."""
    sweeping = _Sweeping(connection, now, touched, limit)
    lost = 0
    ended = sweeping.end_late()
    if sweeping.may_expire(lease):
        lost = sweeping.sweep_dead_workers() + sweeping.sweep_left_behind() + sweeping.sweep_unanswered()
        ended += sweeping.stop_abandoned()
    sweeping.make_due_ready()
    sweeping.stop_children()
    sweeping.wake_parked()
    forgotten = prune(connection, now, touched, limit)
    dies = min((at for (at,) in all_rows(connection, _NEXT_DEAD) if at is not None), default=None)
    (fires,) = one(connection, _NEXT_FIRING)
    return SweepResult(
        lost=lost, ended=ended, removed=forgotten.jobs, more=sweeping.more or forgotten.more,
        next_loss=None if dies is None else max(0.0, dies - now),
        next_firing=None if fires is None else fires - now,
    )  # fmt: skip


class _Sweeping:
    """One sweep under way. `more` is set when a part of it met its limit."""

    def __init__(self, connection: apsw.Connection, now: float, touched: ChangeSet, limit: int) -> None:
        self.more = False
        self._connection = connection
        self._now = now
        self._touched = touched
        self._limit = limit

    def may_expire(self, lease: float) -> bool:
        """Keep the sweep mark, and tell whether leases and listeners may be given up now (rules 5).

        Where nobody has swept for long (a restart, a sleep, a step of the clock), they first get a whole lease to renew.
        """
        swept, patient = one(self._connection, _TIMES)
        if swept is not None and swept > self._now:
            if not self._clamp():
                return False
            patient = min(patient, self._now + lease)
            self._connection.execute(_SET_TIME, ("patient", patient))
        elif swept is None or self._now - swept > lease / 2:
            self._clamp_rates()
            patient = self._now + lease
            self._connection.execute(_SET_TIME, ("patient", patient))
        self._connection.execute(_SET_TIME, ("swept", self._now))
        return bool(self._now >= patient)

    def _clamp(self) -> bool:
        """Shorten what the clock has made longer by stepping back; tell whether that is done."""
        self._connection.execute(_CLAMP_WORKERS, (self._now,))
        for statement in _CLAMPS:
            self._connection.execute(statement, (self._now, _CLAMPED))
            if self._connection.changes() == _CLAMPED:
                self.more = True
        self._clamp_rates()
        return not self.more

    def _clamp_rates(self) -> None:
        if rates.clamp(self._connection, self._now, _CLAMPED):
            self.more = True

    def sweep_dead_workers(self) -> int:
        """Take the leases of each worker that has renewed none in time, and forget it with the last of them."""
        lost = 0
        for (worker,) in all_rows(self._connection, _DEAD, self._now):
            room = self._limit - lost
            lost += self._lose(all_rows(self._connection, _LEASES, worker, room))
            if lost >= self._limit:
                break  # this worker may have more, and is found again
            self._connection.execute(_FORGET_WORKER, (worker,))
            self._connection.execute(_FORGET_MARK, (worker_topic(worker),))
        return lost

    def sweep_left_behind(self) -> int:
        """Take expired leases whose worker is gone, or lives and does not renew them."""
        return self._lose(all_rows(self._connection, _LEFT_BEHIND, self._now, self._limit))

    def sweep_unanswered(self) -> int:
        """Take expired leases that are handed over."""
        return self._lose(all_rows(self._connection, _UNANSWERED, self._now, self._limit))

    def end_late(self) -> int:
        """End queued jobs whose deadline or time to start has passed."""
        late = all_rows(self._connection, _LATE, self._now, self._limit)
        for (seq,) in late:
            expire(self._connection, seq, self._now, self._touched)
        self.more = self.more or len(late) == self._limit
        return len(late)

    def stop_abandoned(self) -> int:
        """Stop jobs whose last listener has been gone for too long, and tell how many of them have ended by that."""
        abandoned = all_rows(self._connection, _ABANDONED, self._now, self._limit)
        ended = 0
        for (seq,) in abandoned:
            row = row_by_seq(self._connection, seq)
            ended += cancel_job(self._connection, row, self._now, self._touched)
            self._connection.execute(_NO_LISTENER, (seq,))
        self.more = self.more or len(abandoned) == self._limit
        return ended

    def make_due_ready(self) -> None:
        """Make delayed jobs ready whose time has come."""
        room = self._limit
        for (queue,) in all_rows(self._connection, _QUEUES):
            room -= promote_due(self._connection, queue, self._now, self._touched, room)
            if room <= 0:
                self.more = True
                return

    def stop_children(self) -> None:
        """Stop children of cancelled jobs that were too many for one step."""
        if cancel_children(self._connection, self._now, self._touched, self._limit):
            self.more = True

    def wake_parked(self) -> None:
        """Wake jobs at rates whose time has come, and those who wait for others that were woken and nobody claims."""
        if blocked_jobs.unblock_due(self._connection, self._now, self._touched, self._limit):
            self.more = True
        blocked_jobs.unblock_beyond_reserved(self._connection, self._now, self._touched, self._limit)

    def _lose(self, found: Sequence[tuple[int]]) -> int:
        """Take leases back, and tell how many. Nobody is blamed and nobody is spared (rules 7)."""
        for (seq,) in found:
            row = row_by_seq(self._connection, seq)
            problem = NOT_ANSWERED if row.outside else WORKER_LOST
            lose_lease(
                self._connection, row._replace(epoch=new_epoch()), Failure(problem=problem), self._now, self._touched
            )
        self.more = self.more or len(found) >= self._limit
        return len(found)
