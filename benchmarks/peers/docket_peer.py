# /// script
# requires-python = ">=3.11"
# dependencies = ["pydocket==0.27.0", "redis[hiredis]==8.1.0", "uvloop==0.23.0"]
# ///
"""Docket as in its docs."""

import asyncio
import logging
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import contest
import uvloop
from docket import Docket, Worker
from docket.execution import ExecutionState

TASKS = {each.__name__: each for each in (contest.noop, contest.pause, contest.hold)}


tasks = list(TASKS.values())
URL = f"{contest.URL}?max_connections=1000"  # redis-py's own limit of 100 is too small for 100 slots


class DocketPeer(contest.Peer):
    about = contest.About(
        packages=["pydocket", "redis", "hiredis", "uvloop"],
        configuration="`Worker.run` with `concurrency` (default 10); 1,000 connections; hiredis; uvloop",
        source="chrisguidry.github.io/docket",
        batch="`docket.add_many`",
        recovery="`redelivery_timeout` of 5 minutes, renewed while a task runs",
    )

    def worker(self, slots: int) -> list[str]:
        return ["docket_peer.py", "serve", str(slots)]

    async def open(self) -> None:
        self.docket = Docket(name="bench", url=URL)
        await self.docket.__aenter__()
        for each in TASKS.values():
            self.docket.register(each)

    async def close(self) -> None:
        await self.docket.__aexit__(None, None, None)

    async def submit(self, task: str, number: int, text: str) -> str:
        return (await self.docket.add(TASKS[task])(number, text)).key

    async def submit_batch(self, task: str, numbers: Sequence[int], text: str) -> list[str]:
        calls = [self.docket.call(TASKS[task])(number, text) for number in numbers]
        return [each.key for each in await self.docket.add_many(calls)]

    async def results(self, ids: Sequence[str]) -> list[Any]:
        return await asyncio.gather(*(self._result(each) for each in ids))

    async def _result(self, key: str) -> Any:
        execution = await self.docket.get_execution(key)
        if execution is None or execution.state is not ExecutionState.COMPLETED:
            return contest.MISSING
        return await execution.get_result(timeout=timedelta(seconds=5))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        logging.basicConfig(level=logging.WARNING)
        slots = int(sys.argv[2])
        uvloop.run(Worker.run("bench", URL, tasks=["docket_peer:tasks"], concurrency=slots))
    else:
        contest.main(DocketPeer())
