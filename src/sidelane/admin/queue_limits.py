"""What a lane's declarations let run at once, by queue: beyond it, more slots would only make jobs wait for their limit."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sidelane.app import Sidelane
from sidelane.model.limit import ConcurrencyLimit, Limit
from sidelane.sizing.services import QueueDemand
from sidelane.tasks.limit_binding import NamedLimit
from sidelane.tasks.registry import AnyTask


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """What applies to all jobs of a queue. `limits` has a limit of each of its tasks, and `per_process` the slots of a worker."""

    limits: tuple[Limit, ...] = ()
    per_process: int | None = None

    def applied_to(self, load: QueueDemand) -> QueueDemand:
        """Return the load with what these limits let run at once. A rate lets as many run as it starts within a run time."""
        capped = replace(load, per_process=self.per_process)
        if not self.limits:
            return capped
        most = sum(
            limit.max if limit.window is None else math.ceil(limit.max / limit.window * load.run_time)
            for limit in self.limits
        )
        names = " and ".join(sorted({limit.name for limit in self.limits}))
        return replace(capped, most=max(1, most), limit=f"the limit {names}")


def queue_limits(lane: Sidelane) -> Mapping[str, QueueLimits]:
    """Return what limits each queue as a whole. Limits of single users or of values of arguments are left out."""
    by_queue: dict[str, list[AnyTask]] = {}
    for name, task in lane.registry.tasks.items():
        if name == task.name:
            by_queue.setdefault(task.policy.queue, []).append(task)
    return {
        name: QueueLimits(_limits(tasks), lane.queues[name].worker_concurrency if name in lane.queues else None)
        for name, tasks in by_queue.items()
    }


def _limits(tasks: Iterable[AnyTask]) -> tuple[Limit, ...]:
    """Return the distinct limits of which each task has one, or none if a task has no limit of its own or of its queue."""
    found: dict[str, Limit] = {}
    for task in tasks:
        own = [limit for named in task.policy.limits if (limit := _whole_limit(named, task)) is not None]
        if not own:
            return ()
        tightest = min(own, key=lambda limit: (limit.window is not None, limit.max))
        found[tightest.id] = tightest
    return tuple(found.values())


def _whole_limit(named: NamedLimit, task: AnyTask) -> Limit | None:
    """Return a limit that counts all jobs of a task or queue and makes them wait, or None."""
    declared = named.declared
    if declared.per not in ("task", "queue") or (
        not isinstance(declared, ConcurrencyLimit) and declared.on_limit != "wait"
    ):
        return None
    return declared.limit(named.name, task.name if declared.per == "task" else task.policy.queue)
