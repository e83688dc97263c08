# /// script
# requires-python = ">=3.11"
# dependencies = ["taskiq==0.13.0", "taskiq-redis==1.2.4", "redis[hiredis]==8.1.0", "uvloop==0.23.0"]
# ///
"""taskiq on Redis streams, the broker that its docs recommend if no message may be lost."""

import asyncio
from collections.abc import Sequence
from typing import Any

import contest
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

backend: RedisAsyncResultBackend[int] = RedisAsyncResultBackend(contest.URL, result_ex_time=3600)
broker = RedisStreamBroker(contest.URL).with_result_backend(backend)
TASKS = {each.__name__: broker.task(each.__name__)(each) for each in (contest.noop, contest.pause, contest.hold)}


class TaskiqPeer(contest.Peer):
    about = contest.About(
        packages=["taskiq", "taskiq-redis", "redis", "hiredis", "uvloop"],
        configuration="`--workers 1`, `--max-async-tasks` (default 100); results kept an hour; hiredis; uvloop",
        source="taskiq-python.github.io, github.com/taskiq-python/taskiq-redis",
        batch="none: `asyncio.gather` of `kiq`",
        recovery="what is not acknowledged for 10 minutes is claimed by another",
    )

    def worker(self, slots: int) -> list[str]:
        options = ["--workers", "1", "--max-async-tasks", str(slots), "--log-level", "WARNING"]
        return ["-m", "taskiq", "worker", "taskiq_peer:broker", *options]

    async def open(self) -> None:
        await broker.startup()

    async def close(self) -> None:
        await broker.shutdown()

    async def submit(self, task: str, number: int, text: str) -> str:
        return (await TASKS[task].kiq(number, text)).task_id

    async def submit_batch(self, task: str, numbers: Sequence[int], text: str) -> list[str]:
        return await asyncio.gather(*(self.submit(task, number, text) for number in numbers))

    async def results(self, ids: Sequence[str]) -> list[Any]:
        return await asyncio.gather(*(self._result(each) for each in ids))

    async def _result(self, task_id: str) -> Any:
        if not await backend.is_result_ready(task_id):
            return contest.MISSING
        return (await backend.get_result(task_id)).return_value


if __name__ == "__main__":
    contest.main(TaskiqPeer())
