"""Slots: how many jobs a worker may run at once, in all and of each queue, and how many of them may be suspects."""

from collections import Counter
from collections.abc import Mapping

from sidelane.model.job import JobRecord

SUSPECT_SHARE = 16
"""One slot in so many may hold a job whose worker died under it once; a job with more such losses is alone (rules 7)."""


class Slots:
    """Counts what is taken of `total` slots and of each queue's own; `queues` maps a name to its limit."""

    def __init__(self, total: int, queues: Mapping[str, int | None]) -> None:
        self.total = total
        self.queues = {name: total if limit is None else min(limit, total) for name, limit in queues.items()}
        self._taken: Counter[str] = Counter()
        self._suspects = [0, 0]

    @property
    def taken(self) -> int:
        return self._taken.total()

    @property
    def free(self) -> int:
        return self.total - self.taken

    def free_by_queue(self) -> dict[str, int]:
        """Map each queue that has room to its free slots, in the order of the queues."""
        return {name: limit - self._taken[name] for name, limit in self.queues.items() if limit > self._taken[name]}

    def suspects(self) -> tuple[int, int]:
        """Say how many more jobs with one loss, and with more, may be taken."""
        once, more = self._suspects
        return max(self.total // SUSPECT_SHARE, 1) - once, 1 - more

    def take(self, record: JobRecord) -> None:
        self._count(record, 1)

    def give_back(self, record: JobRecord) -> None:
        self._count(record, -1)

    def _count(self, record: JobRecord, by: int) -> None:
        self._taken[record.spec.queue] += by
        if record.losses:
            self._suspects[min(record.losses, 2) - 1] += by
