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
    """What applies to all jobs of a queue. `limits` has those of each of its tasks, and `per_process` is the slots of a worker.

    If a task has no limit, `limits` is empty.
    """

    limits: tuple[tuple[Limit, ...], ...] = ()
    per_process: int | None = None

    def applied_to(self, load: QueueDemand) -> QueueDemand:
        """Return the load with what the tightest limit of each task lets run at once."""
        capped = replace(load, per_process=self.per_process)
        if not self.limits:
            return capped

        def at_once(limit: Limit) -> int:
            """Return how many jobs a limit lets run: for a rate, as many as it starts within a run time."""
            return limit.max if limit.window is None else math.ceil(limit.max / limit.window * load.run_time)

        tightest = {limit.id: limit for own in self.limits for limit in [min(own, key=at_once)]}
        names = " and ".join(sorted({limit.name for limit in tightest.values()}))
        return replace(capped, most=max(1, sum(map(at_once, tightest.values()))), limit=f"the limit {names}")


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


def _limits(tasks: Iterable[AnyTask]) -> tuple[tuple[Limit, ...], ...]:
    """Return the limits of each task, or nothing if one of them has none."""
    found = [
        tuple(limit for named in task.policy.limits if (limit := _whole_limit(named, task)) is not None)
        for task in tasks
    ]
    return tuple(found) if all(found) else ()


def _whole_limit(named: NamedLimit, task: AnyTask) -> Limit | None:
    """Return a limit that counts all jobs of a task or queue and makes them wait, or None."""
    declared = named.declared
    if declared.per not in ("task", "queue") or (
        not isinstance(declared, ConcurrencyLimit) and declared.on_limit != "wait"
    ):
        return None
    return declared.limit(named.name, task.name if declared.per == "task" else task.policy.queue)
