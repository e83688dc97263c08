"""Slots: how many jobs a worker may run at once, in all and of each queue."""

from collections import Counter
from collections.abc import Mapping

from sidelane.model.job import JobRecord


class WorkerCapacity:
    """Counts what is taken of `total` slots and of each queue's own; `queues` maps a name to its limit."""

    def __init__(self, total: int, queues: Mapping[str, int | None]) -> None:
        self.total = total
        self.queues = {name: total if limit is None else min(limit, total) for name, limit in queues.items()}
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        return self._taken.total()

    @property
    def free(self) -> int:
        return self.total - self.taken

    def free_by_queue(self) -> dict[str, int]:
        """Map each queue that has room to its free slots, in the order of the queues."""
        return {name: limit - self._taken[name] for name, limit in self.queues.items() if limit > self._taken[name]}

    def take(self, record: JobRecord) -> None:
        self._taken[record.spec.queue] += 1

    def release(self, record: JobRecord) -> None:
        self._taken[record.spec.queue] -= 1
