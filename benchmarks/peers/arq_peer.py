# /// script
# requires-python = ">=3.11"
# dependencies = ["arq==0.28.0", "redis[hiredis]==5.3.1", "uvloop==0.23.0"]
# ///
"""arq as in its docs; it requires redis-py below 6."""

import asyncio
from collections.abc import Sequence
from typing import Any

import contest
import uvloop
from arq import create_pool
from arq.connections import RedisSettings
from arq.jobs import Job

asyncio.set_event_loop(uvloop.new_event_loop())  # its worker uses the current loop
QUIET = {"version": 1, "disable_existing_loggers": False, "loggers": {"arq": {"level": "WARNING"}}}
SETTINGS = RedisSettings.from_dsn(contest.URL)


async def noop(_ctx: dict[str, Any], number: int, text: str) -> int:
    return await contest.noop(number, text)


async def pause(_ctx: dict[str, Any], number: int, text: str) -> int:
    return await contest.pause(number, text)


async def hold(_ctx: dict[str, Any], number: int, text: str) -> int:
    return await contest.hold(number, text)


class WorkerSettings:
    functions = (noop, pause, hold)
    redis_settings = SETTINGS
    max_jobs = contest.SLOTS
    log_results = False


class ArqPeer(contest.Peer):
    about = contest.About(
        packages=["arq", "redis", "hiredis", "uvloop"],
        configuration="`max_jobs` (default 10); uvloop; logs from WARNING on",
        source="arq-docs.helpmanual.io",
        batch="none: `asyncio.gather` of `enqueue_job`",
        recovery="the in-progress key expires after the job's timeout + 10 s: 310 s by default",
    )

    def worker(self, slots: int) -> list[str]:
        return ["-m", "arq", "arq_peer.WorkerSettings", "--custom-log-dict", "arq_peer.QUIET"]

    async def open(self) -> None:
        self.pool = await create_pool(SETTINGS)

    async def close(self) -> None:
        await self.pool.aclose()

    async def submit(self, task: str, number: int, text: str) -> str:
        job = await self.pool.enqueue_job(task, number, text)
        assert job is not None
        return job.job_id

    async def submit_batch(self, task: str, numbers: Sequence[int], text: str) -> list[str]:
        return await asyncio.gather(*(self.submit(task, number, text) for number in numbers))

    async def results(self, ids: Sequence[str]) -> list[Any]:
        infos = await asyncio.gather(*(Job(each, self.pool).result_info() for each in ids))
        return [contest.MISSING if info is None else info.result for info in infos]


if __name__ == "__main__":
    contest.main(ArqPeer())
