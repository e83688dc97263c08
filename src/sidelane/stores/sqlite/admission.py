"""What a new job must pass: its batch, its queue, its limits. All are checked, then all taken (rules 14)."""

from collections import Counter

import apsw

from sidelane.model.job import JobSpec, Rejection
from sidelane.stores.problems import batch_sealed, batch_unknown, limit_hit, queue_full
from sidelane.stores.sqlite import throughput
from sidelane.stores.sqlite.bonds import AppliedLimits
from sidelane.stores.sqlite.records import row_by_seq
from sidelane.stores.sqlite.room import LimitCapacity
from sidelane.stores.sqlite.sql import all_rows, first, scalar
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.stopping import cancel_job
from sidelane.stores.sqlite.touched import ChangeSet

_SQL = statements(__file__)
_SEALED = _SQL["sealed"]
_QUEUED = _SQL["queued"]
_REPLACED = _SQL["replaced"]

_MOST_REPLACED = 200  # older jobs that one call stops beyond one for each new job


class Admission:
    """The admission of one transaction's new jobs. Those that are not in the tables yet count too, until `settle`."""

    def __init__(self, connection: apsw.Connection, now: float) -> None:
        self._connection = connection
        self._now = now
        self._room = LimitCapacity(connection, now)
        self._coming: Counter[str] = Counter()
        self._queued: dict[tuple[str, int], int] = {}  # counted, by queue and most
        self._replaced_more = 0

    def settle(self) -> None:
        """Write down which rates were debited, and count anew: the new jobs are in the tables now."""
        self._room.settle()
        self._coming.clear()
        self._queued.clear()

    def take(self, spec: JobSpec, bonds: AppliedLimits) -> None:
        """Count a new job in."""
        self._coming[spec.queue] += 1
        self._room.take(bonds.submitted)

    def refusal(self, spec: JobSpec, bonds: AppliedLimits) -> Rejection | None:
        """Say what keeps a new job out, if anything does."""
        if spec.batch is not None:
            found = first(self._connection, _SEALED, spec.batch)
            if found is None:
                return Rejection(batch_unknown(spec.batch))
            if found[0]:
                return Rejection(batch_sealed(spec.batch))
        if spec.max_queued is not None and self._is_full(spec.queue, spec.max_queued):
            return queue_full(spec.queue, spec.max_queued, throughput.rate(self._connection, spec.queue, self._now))
        reached = self._room.reached(bonds.submitted)
        return limit_hit(reached) if reached else None

    def _is_full(self, queue: str, most: int) -> bool:
        key = (queue, most)
        if key not in self._queued:
            self._queued[key] = int(scalar(self._connection, _QUEUED, *key))
        return self._queued[key] + self._coming[queue] >= most

    def stop_older(self, bonds: AppliedLimits, touched: ChangeSet) -> None:
        """Stop the oldest jobs of each limit that replaces, as many as have to go for a new one. They must be in the tables.

        Where there are very many, since the limit had more slots once, the rest is for those who come later.
        """
        for bond in bonds.replacing:
            room = 1 + _MOST_REPLACED - self._replaced_more
            older = all_rows(self._connection, _REPLACED, bond.id, bond.limit.most, room)
            self._replaced_more += max(0, len(older) - 1)
            for (seq,) in older:
                cancel_job(self._connection, row_by_seq(self._connection, seq), self._now, touched)
