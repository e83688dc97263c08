"""Queues as operators see them: list, pause, resume and drain."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from sidelane.admin.actions import ActionResult, Status
from sidelane.admin.pauses import NO_DETAILS, PauseRequest
from sidelane.client.pauses import pause_queue, resume_queue
from sidelane.model.sentence import Sentence, counted, sentence
from sidelane.model.worker import QueueStats, WorkerInfo
from sidelane.stores.contract import Store

POLL_INTERVAL = 0.25
"""Seconds between two checks of a queue that drains. Stores send no hint when a job of a queue ends."""


async def list_queues(store: Store) -> tuple[list[QueueStats], list[WorkerInfo]]:
    """Return every queue that has had a job or has a live worker, by name, and the live workers and API processes."""
    workers = await store.workers()
    return known_queues(await store.stats(), workers), workers


def known_queues(stats: Sequence[QueueStats], workers: Sequence[WorkerInfo]) -> list[QueueStats]:
    """Return every queue that has had a job or has a live worker, by name."""
    queues = {queue.name: queue for queue in stats}
    for worker in workers:
        for name in worker.queues:
            queues.setdefault(name, QueueStats(name=name))
    return [queues[name] for name in sorted(queues)]


def without_worker(queues: Sequence[QueueStats], workers: Sequence[WorkerInfo]) -> list[QueueStats]:
    """Return the queues with queued jobs that no live worker serves."""
    with_workers = {name for worker in workers if worker.takes_jobs for name in worker.queues}
    return [queue for queue in queues if queue.queued and queue.name not in with_workers]


async def set_paused(
    store: Store, names: Sequence[str], *, paused: bool, request: PauseRequest = NO_DETAILS
) -> list[ActionResult]:
    """Pause or resume queues. A queue that the store has never seen is an error, because it is probably a typing error."""
    queues, _ = await list_queues(store)
    known = {queue.name: queue for queue in queues}
    now = (await store.list_schedules()).now
    results = []
    for name in dict.fromkeys(names):
        if name in known and paused:
            await pause_queue(store, name, request.pause(now))
        elif name in known:
            await resume_queue(store, name)
        results.append(_pause_result(name, known, request, paused=paused))
    return results


async def wait_until_drained(
    store: Store, names: Sequence[str], timeout: float | None, on_poll: Callable[[Mapping[str, int]], None]
) -> dict[str, int]:
    """Wait until no job of these queues runs, at most `timeout` seconds. Return the running jobs that are left, by queue.

    `on_poll` is called with the running jobs by queue after each check.
    """
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        stats = {queue.name: queue.running for queue in await store.stats()}
        running = {name: stats[name] for name in names if stats.get(name)}
        if not running:
            return {}
        on_poll(running)
        left = POLL_INTERVAL if end is None else min(POLL_INTERVAL, end - time.monotonic())
        if left <= 0:
            return running
        await asyncio.sleep(left)


def drain_result(paused: ActionResult, left: Mapping[str, int]) -> ActionResult:
    """Return the result of a drain for one queue that was paused, by the running jobs that are left."""
    if paused.status is not Status.DONE:
        return paused
    if running := left.get(paused.name, 0):
        message = sentence("not drained: {jobs} still running; the queue stays paused", jobs=job_count(running))
        return ActionResult(paused.name, Status.FAILED, message)
    return ActionResult(paused.name, Status.DONE, sentence("drained: no job is running; the queue stays paused"))


def job_count(count: int) -> Sentence:
    """Return a number of jobs in words, e.g. "1 job" or "2,500 jobs"."""
    return counted(count, "1 job", "{count} jobs")


def _pause_result(name: str, known: Mapping[str, QueueStats], request: PauseRequest, *, paused: bool) -> ActionResult:
    queue = known.get(name)
    if queue is None:
        unknown = sentence("no such queue: the store has never seen a job or a worker of it; no queue is known yet")
        if known:
            text = "no such queue: the store has never seen a job or a worker of it; known queues: {names}"
            unknown = sentence(text, names=", ".join(known))
        return ActionResult(name, Status.NOT_FOUND, unknown)
    if queue.paused == paused:
        return ActionResult(name, Status.DONE, sentence("already paused" if paused else "not paused"))
    message = request.paused if paused else sentence("resumed")
    if paused and queue.running:
        message = sentence("{done}; {jobs} still running", done=message, jobs=job_count(queue.running))
    elif not paused and queue.queued:
        message = sentence("{done}; {jobs} queued", done=message, jobs=job_count(queue.queued))
    return ActionResult(name, Status.DONE, message)
