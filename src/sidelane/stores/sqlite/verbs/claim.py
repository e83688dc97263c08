"""claim: hand out ready jobs, each under a new lease."""

from collections.abc import Sequence

import apsw

from sidelane.model.ids import new_epoch, new_nonce
from sidelane.model.job import Lease
from sidelane.model.limit import LimitHit
from sidelane.model.worker import Claimed, ClaimRequest, Claims
from sidelane.stores.sqlite import blocked_jobs, fair_queue, slots, throughput
from sidelane.stores.sqlite.bonds import CHECKED_AT_START, AppliedLimits, applied_limits_of_job
from sidelane.stores.sqlite.fair_queue import Candidate, FairSelection, UserQueue
from sidelane.stores.sqlite.finalize import expire
from sidelane.stores.sqlite.promotion import promote_due
from sidelane.stores.sqlite.records import record_by_seq
from sidelane.stores.sqlite.room import LimitCapacity
from sidelane.stores.sqlite.sql import all_rows, first, one, scalar
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import ChangeSet

_SQL = statements(__file__)
_REPEATED = _SQL["repeated"]
_PAUSED = _SQL["paused"]
_NEXT_DUE = _SQL["next_due"]
_ISOLATED = _SQL["isolated"]
_BY_ID = _SQL["by_id"]
_TAKE = _SQL["take"]
_GIVEN = _SQL["given"]
_RENEW_WORKER = _SQL["renew_worker"]

_MOST_ASIDE = 200  # jobs that one claim sees to on its way: due ones, late ones, those whose limits are full


def claim(connection: apsw.Connection, now: float, touched: ChangeSet, request: ClaimRequest) -> Claims:
    """Take what the request has room for; a repeat gets the same jobs again."""
    repeated = [seq for (seq,) in all_rows(connection, _REPEATED, request.worker, request.request)]
    if repeated:
        return Claims(_answer(connection, repeated, now))
    claiming = _Claiming(connection, now, touched, request)
    if request.ids:
        claiming.take_ids(request.ids)
        return Claims(claiming.answer())
    open_queues = [queue for queue in request.queues if not first(connection, _PAUSED, queue)]
    for queue in open_queues:
        claiming.take_from(queue, request.queues[queue])
    return Claims(claiming.answer(), claiming.next_due(open_queues), claiming.isolated_waits(open_queues))


class _Claiming:
    """One claim under way: what it wants, what it has taken, and what it sets aside: late jobs, and those whose limits are full."""

    def __init__(self, connection: apsw.Connection, now: float, touched: ChangeSet, request: ClaimRequest) -> None:
        self.taken: list[int] = []
        self._connection = connection
        self._now = now
        self._touched = touched
        self._request = request
        self._room = LimitCapacity(connection, now)
        self._bonds: dict[int, AppliedLimits] = {}  # of jobs that it wants
        self._late: list[int] = []
        self._full: list[tuple[int, LimitHit]] = []
        self._aside = 0

    def wants(self, candidate: Candidate) -> bool:
        """Tell whether the worker may run this job."""
        if not self._knows(candidate.task, candidate.version):
            return False
        if candidate.give_up is not None and candidate.give_up <= self._now:
            if not self.has_enough:
                self._late.append(candidate.seq)
                self._aside += 1
            return False
        return not candidate.limited & CHECKED_AT_START or self._has_room(candidate.seq)

    def takes(self, candidate: Candidate) -> None:
        if candidate.limited & CHECKED_AT_START:
            self._room.take(self._bonds[candidate.seq].started)

    @property
    def has_enough(self) -> bool:
        return self._aside >= _MOST_ASIDE

    def take_from(self, queue: str, free: int) -> None:
        """Take up to `free` jobs of a queue."""
        due = self._next_due(queue)
        if due is not None and due <= self._now:
            promote_due(self._connection, queue, self._now, self._touched, _MOST_ASIDE)
            blocked_jobs.unblock_due(self._connection, self._now, self._touched, _MOST_ASIDE)
        room = min(free, self._request.limit - len(self.taken))
        before = len(self.taken)
        isolated = int(self._request.isolated)
        for priority in fair_queue.priorities(self._connection, queue, isolated) if room > 0 else ():
            picking = FairSelection(self._connection, queue, isolated, priority)
            picked = picking.pick(room, self)
            self._take(picked)
            picking.settle()
            self._put_aside()
            room -= len(picked)
            if room <= 0 or self.has_enough:
                break
        throughput.count(self._connection, queue, len(self.taken) - before, self._now)

    def take_ids(self, ids: Sequence[str]) -> None:
        """Take these very jobs, out of turn, where the worker may run them."""
        for job_id in dict.fromkeys(ids):
            found = first(self._connection, _BY_ID, job_id, self._now)
            if len(self.taken) >= self._request.limit or found is None:
                continue
            line, candidate = UserQueue(*found[:4]), Candidate(*found[4:])
            if self.wants(candidate) and not first(self._connection, _PAUSED, line.queue):
                self.takes(candidate)
                self._take([candidate.seq])
                fair_queue.remove(self._connection, line, candidate.seq)
                throughput.count(self._connection, line.queue, 1, self._now)
        self._put_aside()

    def next_due(self, queues: Sequence[str]) -> float | None:
        """Tell in how many seconds the next waiting job of these queues may start; 0: there was too much to see to at once."""
        if self.has_enough:
            return 0.0
        due = [at for queue in queues if (at := self._next_due(queue)) is not None]
        return max(0.0, min(due) - self._now) if due else None

    def isolated_waits(self, queues: Sequence[str]) -> bool:
        """Tell whether an isolated job is ready that this worker knows and has not asked for."""
        return not self._request.isolated and any(
            self._knows(task, version)
            for queue in queues
            for task, version in all_rows(self._connection, _ISOLATED, queue)
        )

    def answer(self) -> tuple[Claimed, ...]:
        """Give what was taken."""
        claimed = _answer(self._connection, self.taken, self._now)
        self._touched.jobs.update(each.record.id for each in claimed)
        return claimed

    def _take(self, picked: Sequence[int]) -> None:
        """Give each picked job a new attempt and lease."""
        if not picked:
            return
        request = self._request
        expires = self._now + request.lease
        self._connection.executemany(
            _TAKE,
            [
                (
                    seq, self._now, expires, request.lease, request.worker, request.request, place, new_nonce(),
                    new_epoch(),
                )
                for place, seq in enumerate(picked, len(self.taken))
            ],
        )  # fmt: skip
        slots.acquire_running(self._connection, [(seq, self._bonds[seq]) for seq in picked if seq in self._bonds])
        self._room.settle()
        if not self.taken:
            self._connection.execute(_RENEW_WORKER, (request.worker, expires, request.lease))
        self.taken += picked

    def _knows(self, task: str, version: int) -> bool:
        known = self._request.tasks
        return known is None or known.get(task, version - 1) >= version

    def _has_room(self, seq: int) -> bool:
        """Tell whether the limits of a job let it start; else it is to be parked at the first that does not."""
        if seq not in self._bonds:
            self._bonds[seq] = applied_limits_of_job(self._connection, seq)
        reached = self._room.reached(self._bonds[seq].started)
        if reached and not self.has_enough:
            self._full.append((seq, reached[0]))
            self._aside += 1
        return not reached

    def _put_aside(self) -> None:
        """End what is too late, and park what has no room."""
        self._room.settle()  # it may have seen that the clock stepped back
        for seq in self._late:
            expire(self._connection, seq, self._now, self._touched)
        self._late.clear()
        blocked_jobs.block(self._connection, self._full, self._now, self._touched)
        self._full.clear()

    def _next_due(self, queue: str) -> float | None:
        """Tell when the next job of a queue may start that waits for a time, its own or that of a rate."""
        due: float | None = scalar(self._connection, _NEXT_DUE, queue)
        wake = blocked_jobs.next_unblock(self._connection, queue)
        return wake if due is None else due if wake is None else min(due, wake)


def _answer(connection: apsw.Connection, seqs: Sequence[int], now: float) -> tuple[Claimed, ...]:
    claimed = []
    for seq in seqs:
        record = record_by_seq(connection, seq)
        attempt, nonce, deadline = one(connection, _GIVEN, seq)
        lease = Lease(record.id, attempt, nonce)
        claimed.append(Claimed(record, lease, None if deadline is None else deadline - now))
    return tuple(claimed)
