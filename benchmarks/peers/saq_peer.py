# /// script
# requires-python = ">=3.11"
# dependencies = ["saq[redis]==0.26.4", "redis[hiredis]==7.4.1", "uvloop==0.23.0", "typing-extensions"]
# ///
"""SAQ as in its docs."""

import asyncio
from collections.abc import Sequence
from typing import Any

import contest
import uvloop
from saq import Queue
from saq.job import Status

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
queue = Queue.from_url(contest.URL)


async def noop(_ctx: Any, *, number: int, text: str) -> int:
    return await contest.noop(number, text)


async def pause(_ctx: Any, *, number: int, text: str) -> int:
    return await contest.pause(number, text)


async def hold(_ctx: Any, *, number: int, text: str) -> int:
    return await contest.hold(number, text)


settings = {"queue": queue, "functions": [noop, pause, hold], "concurrency": contest.SLOTS}


class SaqPeer(contest.Peer):
    about = contest.About(
        packages=["saq", "redis", "hiredis", "uvloop"],
        configuration="`concurrency` (default 10); hiredis; uvloop",
        source="saq-py.readthedocs.io",
        batch="none: `asyncio.gather` of `enqueue`",
        recovery="a sweep every 60 s takes back what is past its timeout (10 s by default), with `retries` of 2 or more",
    )

    def worker(self, slots: int) -> list[str]:
        return ["-m", "saq", "saq_peer.settings"]

    async def open(self) -> None:
        await queue.connect()

    async def close(self) -> None:
        await queue.disconnect()

    async def submit(self, task: str, number: int, text: str) -> str:
        job = await queue.enqueue(task, number=number, text=text, retries=2)
        assert job is not None
        return job.key

    async def submit_batch(self, task: str, numbers: Sequence[int], text: str) -> list[str]:
        return await asyncio.gather(*(self.submit(task, number, text) for number in numbers))

    async def results(self, ids: Sequence[str]) -> list[Any]:
        jobs = await queue.jobs(ids)
        return [job.result if job and job.status is Status.COMPLETE else contest.MISSING for job in jobs]


if __name__ == "__main__":
    contest.main(SaqPeer())
