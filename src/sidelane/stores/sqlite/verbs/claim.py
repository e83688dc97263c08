"""claim: hand out ready jobs, each under a new lease."""

from collections.abc import Sequence

import apsw

from sidelane.model.ids import new_epoch, new_nonce
from sidelane.model.job import Lease
from sidelane.model.worker import Claimed, ClaimRequest, Claims
from sidelane.stores.sqlite import lines
from sidelane.stores.sqlite.ending import end_late
from sidelane.stores.sqlite.lines import Candidate, Picking
from sidelane.stores.sqlite.promotion import promote
from sidelane.stores.sqlite.records import record_by_seq
from sidelane.stores.sqlite.rows import all_rows, first_row, only_value, the_row
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import Touched

_SQL = statements(__file__)
_REPEATED = _SQL["repeated"]
_PAUSED = _SQL["paused"]
_NEXT_DUE = _SQL["next_due"]
_BY_ID = _SQL["by_id"]
_TAKE = _SQL["take"]
_GIVEN = _SQL["given"]
_RENEW_WORKER = _SQL["renew_worker"]

_MOST_ASIDE = 200  # due and late jobs that one claim sees to on its way


def claim(connection: apsw.Connection, now: float, touched: Touched, request: ClaimRequest) -> Claims:
    """Take what the request has room for; a repeat gets the same jobs again."""
    repeated = [seq for (seq,) in all_rows(connection, _REPEATED, request.worker, request.request)]
    if repeated:
        return Claims(_answer(connection, repeated, now))
    claiming = _Claiming(connection, now, touched, request)
    if request.ids:
        claiming.take_ids(request.ids)
        return Claims(claiming.answer())
    open_queues = [queue for queue in request.queues if not first_row(connection, _PAUSED, queue)]
    due = [claiming.take_from(queue, request.queues[queue]) for queue in open_queues]
    next_due = min((each for each in due if each is not None), default=None)
    return Claims(claiming.answer(), None if next_due is None else max(0.0, next_due - now))


class _Claiming:
    """One claim under way: what it wants, what it has taken, and what it found too late to start."""

    def __init__(self, connection: apsw.Connection, now: float, touched: Touched, request: ClaimRequest) -> None:
        self.taken: list[int] = []
        self._connection = connection
        self._now = now
        self._touched = touched
        self._request = request
        self._suspects = list(request.suspects)
        self._late: list[int] = []

    def wants(self, candidate: Candidate) -> bool:
        """Tell whether the worker may run this job."""
        known = self._request.tasks
        if known is not None and known.get(candidate.task, candidate.version - 1) < candidate.version:
            return False
        if candidate.give_up is not None and candidate.give_up <= self._now:
            if len(self._late) < _MOST_ASIDE:
                self._late.append(candidate.seq)
            return False
        return candidate.losses == 0 or self._suspects[min(candidate.losses, 2) - 1] > 0

    def takes(self, candidate: Candidate) -> None:
        if candidate.losses:
            self._suspects[min(candidate.losses, 2) - 1] -= 1

    def take_from(self, queue: str, slots: int) -> float | None:
        """Take up to `slots` jobs of a queue, and tell when its next waiting job may start."""
        due = self._next_due(queue)
        if due is not None and due <= self._now:
            promote(self._connection, queue, self._now, self._touched, _MOST_ASIDE)
            due = self._next_due(queue)
        room = min(slots, self._request.limit - len(self.taken))
        for priority in lines.priorities(self._connection, queue) if room > 0 else ():
            picking = Picking(self._connection, queue, priority)
            picked = picking.pick(room, self)
            self._take(picked)
            picking.settle()
            self._end_late()
            room -= len(picked)
            if room <= 0:
                break
        return due

    def take_ids(self, ids: Sequence[str]) -> None:
        """Take these very jobs, out of turn, where the worker may run them."""
        for job_id in dict.fromkeys(ids):
            found = first_row(self._connection, _BY_ID, job_id, self._now)
            if len(self.taken) >= self._request.limit or found is None:
                continue
            seq, queue, priority, user, *rest = found
            candidate = Candidate(seq, *rest)
            if self.wants(candidate) and not first_row(self._connection, _PAUSED, queue):
                self.takes(candidate)
                self._take([seq])
                lines.leave(self._connection, queue, priority, user, seq)
        self._end_late()

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
        if not self.taken:
            self._connection.execute(_RENEW_WORKER, (request.worker, expires, request.lease))
        self.taken += picked

    def _end_late(self) -> None:
        for seq in self._late:
            end_late(self._connection, seq, self._now, self._touched)
        self._late.clear()

    def _next_due(self, queue: str) -> float | None:
        due: float | None = only_value(self._connection, _NEXT_DUE, queue)
        return due


def _answer(connection: apsw.Connection, seqs: Sequence[int], now: float) -> tuple[Claimed, ...]:
    claimed = []
    for seq in seqs:
        record = record_by_seq(connection, seq)
        attempt, nonce, deadline = the_row(connection, _GIVEN, seq)
        lease = Lease(record.id, attempt, nonce)
        claimed.append(Claimed(record, lease, None if deadline is None else deadline - now))
    return tuple(claimed)
