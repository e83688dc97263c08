# /// script
# requires-python = ">=3.11"
# dependencies = ["streaq==7.2.0", "coredis==6.9.0", "uvloop==0.23.0"]
# ///
"""streaQ as in its docs."""

from collections.abc import Sequence
from typing import Any

import contest
from streaq import TaskStatus, Worker

worker: Worker[None] = Worker(redis_url=contest.URL, concurrency=contest.SLOTS, anyio_kwargs={"use_uvloop": True})
TASKS = {
    each.__name__: worker.task(name=each.__name__, silent=True, ttl=3600)(each)
    for each in (contest.noop, contest.pause, contest.hold)
}


class StreaqPeer(contest.Peer):
    about = contest.About(
        packages=["streaq", "coredis", "uvloop"],
        configuration="`concurrency` (default 16; 32 in its own benchmark); uvloop; no log line a task",
        source="streaq.readthedocs.io, github.com/tastyware/streaq/tree/master/benchmarks",
        batch="`worker.enqueue_many`",
        recovery="`idle_timeout` of 60 s, renewed while a task runs",
    )

    def worker(self, slots: int) -> list[str]:
        return ["-m", "streaq", "run", "streaq_peer:worker"]

    async def open(self) -> None:
        await worker.__aenter__()

    async def close(self) -> None:
        await worker.__aexit__(None, None, None)

    async def submit(self, task: str, number: int, text: str) -> str:
        return (await TASKS[task].enqueue(number, text)).id

    async def submit_batch(self, task: str, numbers: Sequence[int], text: str) -> list[str]:
        tasks = [TASKS[task].enqueue(number, text) for number in numbers]
        await worker.enqueue_many(tasks)
        return [each.id for each in tasks]

    async def results(self, ids: Sequence[str]) -> list[Any]:
        done = await worker.get_tasks_by_status(TaskStatus.DONE, limit=1_000_000)
        results = {each.task_id: each.result for each in done}
        return [results.get(each, contest.MISSING) for each in ids]


if __name__ == "__main__":
    contest.main(StreaqPeer())
