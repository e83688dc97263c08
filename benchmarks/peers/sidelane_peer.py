"""Sidelane as in its docs, with default settings; it runs in the project's environment."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import contest

from sidelane import Sidelane, Task
from sidelane.model.job import State, Submission

lane = Sidelane(store=contest.URL)
TASKS: dict[str, Task[..., Any, int]] = {
    each.__name__: lane.task(each) for each in (contest.noop, contest.pause, contest.hold)
}


class SidelanePeer(contest.Peer):
    about = contest.About(
        packages=["sidelane", "redis", "hiredis", "apsw", "uvloop"],
        configuration="`sidelane worker`, `--concurrency` (default 100); all else by default; uvloop; hiredis",
        source="docs/workers.md",
        batch="`lane.client.store.submit` of their specs, in one call",
        recovery="lease of 10 s, renewed",
        durability="SQLite: every submit, claim and finish is synced to the disk (synchronous=FULL)",
    )

    def worker(self, slots: int) -> list[str]:
        return [
            "-m",
            "sidelane.cli",
            "worker",
            "sidelane_peer:lane",
            "--concurrency",
            str(slots),
            "--log-level",
            "WARNING",
        ]

    async def open(self) -> None:
        self._running: AbstractAsyncContextManager[Sidelane] = lane.open()
        await self._running.__aenter__()

    async def close(self) -> None:
        await self._running.__aexit__(None, None, None)

    async def submit(self, task: str, number: int, text: str) -> str:
        return (await TASKS[task].submit(number, text)).id

    async def submit_batch(self, task: str, numbers: Sequence[int], text: str) -> list[str]:
        specs = [TASKS[task].call(number, text).spec() for number in numbers]
        answers = await lane.client.store.submit(specs)
        assert all(isinstance(answer, Submission) for answer in answers)
        return [spec.id for spec in specs]

    async def results(self, ids: Sequence[str]) -> list[Any]:
        return await asyncio.gather(*(self._result(each) for each in ids))

    async def _result(self, job_id: str) -> Any:
        job = TASKS["noop"].job(job_id)
        return await job.result() if (await job.record()).state is State.SUCCEEDED else contest.MISSING


if __name__ == "__main__":
    contest.main(SidelanePeer())
