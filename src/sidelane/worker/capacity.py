"""Capacity of a worker: its slots, in total and for each queue, and how the queues share them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sidelane.model.job import JobRecord
from sidelane.tasks.internal_queues import INTERNAL_POLL_INTERVAL, INTERNAL_QUEUES, INTERNAL_SLOTS

MAX_POLL_INTERVAL = 10.0
"""Seconds after which an idle worker claims without a notification.

A lost notification causes a shorter delay, because sweeps notify again.
"""


class WorkerCapacity:
    """Counts the jobs that run in `total` slots. `queues` maps names to the limit of each queue (None: `total`)."""

    def __init__(self, total: int, queues: Mapping[str, int | None]) -> None:
        self.total = total
        self.queues = {name: total if limit is None else min(limit, total) for name, limit in queues.items()}
        self._used: Counter[str] = Counter()

    @property
    def used(self) -> int:
        return self._used.total()

    @property
    def free(self) -> int:
        return self.total - self.used

    def free_by_queue(self) -> dict[str, int]:
        """Map each queue that is not full to its free slots, in the order of the queues."""
        return {name: limit - self._used[name] for name, limit in self.queues.items() if limit > self._used[name]}

    def acquire(self, record: JobRecord) -> None:
        self._used[record.spec.queue] += 1

    def release(self, record: JobRecord) -> None:
        self._used[record.spec.queue] -= 1


class WeightedQueues:
    """Shares free slots among queues by their weights while more jobs wait than there are slots.

    With `strict`, there are no shares, and each queue comes before the next, in their order.

    A queue that returned fewer jobs than requested counts as empty until it returns its whole share again. Empty queues come first,
    with no more than their share, and all free slots are shared among the other queues. So no second claim is needed to use slots
    that empty queues leave free.
    """

    def __init__(self, weights: Mapping[str, int], *, strict: bool = False) -> None:
        self._weights = weights
        self._strict = strict
        self._empty: set[str] = set()
        self._credit: dict[str, int] = {}

    def allocate(self, free: Mapping[str, int], total: int) -> dict[str, int]:
        """Map queues to how many jobs to request from each. `free` has the free slots of each queue, and `total` those of all
        queues.

        Every queue is in the answer, in the order of the claim. Queues without a share this time get the slots that the others
        leave free.
        """
        limits = {queue: min(slots, total) for queue, slots in free.items()}
        backlogged = [queue for queue in limits if queue not in self._empty]
        if self._strict or len(limits) < 2 or not backlogged:
            return limits
        shares = self._shares(backlogged, limits, total)
        weight = sum(self._weights[queue] for queue in limits)
        probes = {
            queue: min(limit, max(1, total * self._weights[queue] // weight))
            for queue, limit in limits.items()
            if queue in self._empty
        }
        return {**probes, **shares, **{queue: limits[queue] for queue in backlogged if queue not in shares}}

    def record(self, requested: Mapping[str, int], received: Mapping[str, int], *, full: bool) -> list[str]:
        """Record how many jobs each queue returned, and return the queues that may have more.

        `full` means that the claim filled all free slots, so it did not reach some of the queues.
        """
        reached = list(requested)
        if full:
            last = max((index for index, queue in enumerate(reached) if received.get(queue)), default=-1)
            reached = reached[: last + 1]
        more = [queue for queue in reached if received.get(queue, 0) >= requested[queue]]
        if full and reached and reached[-1] not in more:
            reached.pop()  # the claim was full before it reached this queue's share
        self._empty.difference_update(more)
        self._empty.update(queue for queue in reached if queue not in more)
        return more

    def _shares(self, queues: Sequence[str], limits: Mapping[str, int], total: int) -> dict[str, int]:
        """Share the slots one by one, each to the queue with the highest credit (smooth weighted round robin, as in nginx)."""
        weights, credit = self._weights, self._credit
        rounds = total // sum(weights[queue] for queue in queues)
        rounds = min(rounds, *(limits[queue] // weights[queue] for queue in queues))
        # a whole round leaves the credits as they are
        shares = {queue: rounds * weights[queue] for queue in queues} if rounds else {}
        for _ in range(total - sum(shares.values())):
            candidates = [queue for queue in queues if shares.get(queue, 0) < limits[queue]]
            if not candidates:
                break
            for queue in candidates:
                credit[queue] = credit.get(queue, 0) + weights[queue]
            best = max(candidates, key=lambda queue: credit[queue])
            credit[best] -= sum(weights[queue] for queue in candidates)
            shares[best] = shares.get(best, 0) + 1
        return shares


@dataclass(frozen=True, slots=True)
class QueueShare:
    """Part of a worker: slots for some queues, filled by the queues' weights.

    `poll_interval` is the number of seconds after which jobs are claimed without a notification. With `isolated`, only isolated
    jobs are claimed.
    """

    capacity: WorkerCapacity
    queues: WeightedQueues
    poll_interval: float = MAX_POLL_INTERVAL
    isolated: bool = False


def internal_share() -> QueueShare:
    """Return the share of a worker that runs internal jobs."""
    limits = {name: queue.worker_concurrency for name, queue in INTERNAL_QUEUES.items()}
    return QueueShare(
        WorkerCapacity(INTERNAL_SLOTS, limits), WeightedQueues(dict.fromkeys(limits, 1)), INTERNAL_POLL_INTERVAL
    )
