"""Shared reads: what the live views of a process ask of the store at the same moment is read once."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from sidelane.admin.advice import Advice, read_advice, this_machine
from sidelane.admin.batches import newest_batches
from sidelane.admin.callbacks import FailingReceiver, failing_receivers
from sidelane.admin.dead_letters import MAX_GROUPED, DeadLetterFilter, newest_dead_letters
from sidelane.admin.failure_causes import FailureCause, read_failure_causes
from sidelane.admin.figures import History, read_history
from sidelane.admin.findings.evaluation import Attention
from sidelane.admin.findings.facts import WorkerExit
from sidelane.admin.findings.finding import Finding
from sidelane.admin.limits import ChangedLimit, changed_limits
from sidelane.admin.queue_overview import Line, QueueOverview, jobs_waiting_for_limits, queue_overviews, read_line
from sidelane.admin.queues import known_queues
from sidelane.admin.users import TopUsers, read_top_users
from sidelane.admin.workers import RequestedChange, read_exits, requested_changes, running_jobs
from sidelane.client.declarations import DECLARATIONS, load_declarations
from sidelane.client.pauses import Pauses, read_pauses
from sidelane.model.batch import BatchRecord
from sidelane.model.durations import DAY, HOUR
from sidelane.model.job import JobRecord
from sidelane.model.worker import LimitStats, QueueStats, WorkerInfo
from sidelane.stores.contract import Store

T = TypeVar("T")

STATS_FOR: Final = 0.5
"""Seconds for which counts of queues, workers and limits are shown without reading them again."""

FINDINGS_FOR: Final = 5.0
"""The same for findings, which take more reads."""

LISTS_FOR: Final = 2.0
"""The same for users in line, batches, dead letters and receivers, for which many jobs are read."""

ADVICE_FOR: Final = 600.0
"""The same for advice, which changes from hour to hour."""

HISTORY_FOR: Final = 10.0
"""The same for charts and users. Their newest point grows meanwhile."""


class SharedReads:
    """Reads of one store, for all live views of a process. A read in progress serves everyone who asks meanwhile."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._attention = Attention(store)
        self._reads: dict[object, tuple[float, asyncio.Task[Any]]] = {}

    async def stats(self) -> list[QueueStats]:
        """Return the counts of every queue. Raises `StoreError`, as all reads do."""
        return await self._shared("stats", STATS_FOR, self.store.stats)

    async def workers(self) -> list[WorkerInfo]:
        """Return the live workers and API processes."""
        return await self._shared("workers", STATS_FOR, self.store.workers)

    async def limits(self) -> list[LimitStats]:
        """Return the limits that are used or waited for."""
        return await self._shared("limits", STATS_FOR, self.store.limits)

    async def changed_limits(self) -> list[ChangedLimit]:
        """Return the limits whose numbers an operator has changed."""
        return await self._shared("changed limits", STATS_FOR, lambda: changed_limits(self.store))

    async def findings(self) -> Sequence[Finding]:
        """Return what needs a person, worst first; muted findings are last."""
        return await self._shared("findings", FINDINGS_FOR, self._attention.findings)

    async def running(self) -> Mapping[str, Sequence[JobRecord]]:
        """Return the running jobs by the id of their worker."""
        return await self._shared("running", STATS_FOR, lambda: running_jobs(self.store))

    async def requested_changes(self) -> Mapping[str, RequestedChange]:
        """Return what operators have asked of workers, by the id of the worker."""
        workers = await self.workers()
        return await self._shared("requests", STATS_FOR, lambda: requested_changes(self.store, workers))

    async def exits(self) -> Sequence[WorkerExit]:
        """Return the workers whose process died, the newest first."""
        return await self._shared("exits", FINDINGS_FOR, lambda: read_exits(self.store))

    async def dead_letters(self) -> Sequence[JobRecord]:
        """Return the newest dead letters, at most `MAX_GROUPED`, with their histories."""
        return await self._shared(
            "dead letters", LISTS_FOR, lambda: newest_dead_letters(self.store, DeadLetterFilter(), MAX_GROUPED)
        )

    async def batches(self) -> Sequence[BatchRecord]:
        """Return the batches of the newest jobs, the newest first."""
        return await self._shared("batches", LISTS_FOR, lambda: newest_batches(self.store))

    async def failing_receivers(self) -> Sequence[FailingReceiver]:
        """Return the receivers that callbacks do not reach."""
        return await self._shared("receivers", LISTS_FOR, lambda: failing_receivers(self.store))

    async def history(self, seconds: float, *, queue: str | None = None, task: str | None = None) -> History:
        """Return the history of the last `seconds`, of everything or of one queue or task."""
        key = ("history", seconds, queue, task)
        return await self._shared(key, HISTORY_FOR, lambda: read_history(self.store, seconds, queue=queue, task=task))

    async def target_waits(self) -> Mapping[str, float]:
        """Return the declared target wait in seconds of each queue that has one."""
        (declared,) = await self._shared("declared", FINDINGS_FOR, lambda: self.store.read_values([DECLARATIONS]))
        return load_declarations(declared).target_waits

    async def pauses(self) -> Pauses:
        """Return the pauses of queues and tasks."""
        return await self._shared("pauses", STATS_FOR, lambda: read_pauses(self.store))

    async def jobs_waiting_for_limits(self) -> Sequence[JobRecord]:
        """Return the newest jobs that wait for a limit."""
        return await self._shared("held", FINDINGS_FOR, lambda: jobs_waiting_for_limits(self.store))

    async def queue_overviews(self) -> list[QueueOverview]:
        """Return the queues without internal ones, with their figures of the last hour."""
        workers = await self.workers()
        return queue_overviews(
            known_queues(await self.stats(), workers), workers, await self.history(HOUR),
            target_waits=await self.target_waits(), waiting=await self.jobs_waiting_for_limits(),
        )  # fmt: skip

    async def line(self, queue: str) -> Line:
        """Return the users in line of a queue."""
        return await self._shared(("line", queue), LISTS_FOR, lambda: read_line(self.store, queue, time.time()))

    async def failure_causes(self, task: str, since: float) -> Sequence[FailureCause]:
        """Return why jobs of a task failed since a time."""
        return await self._shared(
            ("causes", task, since), FINDINGS_FOR, lambda: read_failure_causes(self.store, task, since)
        )

    async def top_users(self, seconds: float) -> TopUsers:
        """Return which users did most in the last `seconds`."""
        return await self._shared(("users", seconds), HISTORY_FOR, lambda: read_top_users(self.store, seconds))

    async def advice(self) -> Advice:
        """Return how many processes and slots the load of the last day needs."""
        return await self._shared("advice", ADVICE_FOR, lambda: read_advice(self.store, DAY, this_machine(), {}))

    def forget(self) -> None:
        """Read everything again when it is asked for, because an operator has changed something."""
        self._reads.clear()

    async def _shared(self, key: object, lasts: float, read: Callable[[], Awaitable[T]]) -> T:
        until, task = self._reads.get(key, (0.0, None))
        if task is None or time.monotonic() >= until or (task.done() and _failed(task)):
            self._forget_old()
            task = asyncio.ensure_future(_call(read))
            self._reads[key] = time.monotonic() + lasts, task
        return cast(T, await asyncio.shield(task))

    def _forget_old(self) -> None:
        now = time.monotonic()
        self._reads = {key: read for key, read in self._reads.items() if read[0] > now}


async def _call(read: Callable[[], Awaitable[T]]) -> T:
    return await read()


def _failed(task: "asyncio.Task[Any]") -> bool:
    return task.cancelled() or task.exception() is not None
