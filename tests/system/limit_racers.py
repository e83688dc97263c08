"""Processes that race for one limit: `python -m tests.system.limit_racers <url> <folder> <on limit> <processes> <submits of each>`.

One process forks the others, so that fifty cost little. Each keeps what it acquires for a moment and writes a separate file: a
line for each time it had a slot, with the attempt and the time span on this machine's one monotonic clock. The span is shorter than
the slot was taken: it begins after the answer that acquired the slot, and ends before the call that releases it.
"""

import asyncio
import json
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, TextIO, TypeVar

from sidelane.model.errors import StoreUnavailable
from sidelane.model.ids import new_nonce
from sidelane.model.job import Failure, JobSpec, Submission
from sidelane.model.limit import Limit, OnLimit
from sidelane.model.outcome import AttemptResult, Outcome, Released, Retried, Succeeded
from sidelane.model.problem import Problem
from sidelane.model.worker import Claimed, ClaimRequest, Claims
from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store

T = TypeVar("T")

LIMIT = 3

MAX_HOLD, MAX_PAUSE = 0.02, 0.3
"""Seconds; a racer that acquires nothing pauses, so that the others make progress."""

LEASE = 60.0


class Racer:
    """One process on its own connection to the store."""

    def __init__(self, store: Store, name: str, on_limit: OnLimit, log: TextIO) -> None:
        self._store = store
        self._name = name
        self._limit = Limit(name="race", key="all", max=LIMIT, on_limit=on_limit)
        self._log = log
        self._rng = random.Random(name)

    async def run(self, submissions: int) -> None:
        """Submit so many jobs one after the other, running one between two of them, and help until nothing is left."""
        for number in range(submissions):
            job = JobSpec(id=f"{self._name}-{number}", task="race", user=self._name, limits=(self._limit,))
            (answer,) = await repeated(partial(self._store.submit, [job]))
            taken = isinstance(answer, Submission)
            self._write(submitted=job.id, taken=taken)
            if not taken:
                await self._pause(MAX_PAUSE)
            elif self._limit.on_limit == "reject":  # it is admitted already, and no other racer claims it
                with self._holding(job.id):
                    await self._pause(MAX_HOLD)
                while not await self._run_job(await self._claim(job.id)):
                    pass
            else:
                await self._run_job(await self._claim())
        while self._limit.at_start and any(queue.queued + queue.running for queue in await self._store.stats()):
            await self._run_job(await self._claim())

    async def _claim(self, *ids: str) -> Claimed | None:
        """Claim this job, or any job, isolated or not."""
        claims = Claims()
        for isolated in False, True:
            request = ClaimRequest(
                request=new_nonce(), worker=self._name, queues={} if ids else {"default": 1}, ids=ids, lease=LEASE,
                isolated=isolated,
            )  # fmt: skip
            claims = await repeated(lambda: self._store.claim(request))  # noqa: B023 - awaited at once
            if claims.jobs or not claims.isolated:
                break
        return next(iter(claims.jobs), None)

    async def _run_job(self, claimed: Claimed | None) -> bool:
        """Keep what was claimed for a moment, end that attempt, and return whether the job has ended too."""
        if claimed is None:
            await self._pause(MAX_PAUSE)
            return False
        with self._holding(claimed.record.id, claimed.lease.attempt):
            await self._pause(MAX_HOLD)
        again = Retried(Failure(problem=Problem(detail="once more")))
        outcomes: list[Outcome] = [Succeeded("1"), again, Released()]
        (outcome,) = self._rng.choices(outcomes, weights=[8, 1, 1])
        report = AttemptResult(lease=claimed.lease, outcome=outcome)
        assert await repeated(lambda: self._store.finish([report])) == [True]
        return isinstance(outcome, Succeeded)

    @contextmanager
    def _holding(self, job: str, attempt: int = 0) -> Iterator[None]:
        """Write from when to when this process surely has a slot; attempt 0 is the job that waits."""
        since = time.monotonic()
        yield
        self._write(held=job, attempt=attempt, since=since, until=time.monotonic())

    async def _pause(self, longest: float) -> None:
        await asyncio.sleep(self._rng.uniform(0.0, longest))

    def _write(self, **line: Any) -> None:
        self._log.write(json.dumps(line) + "\n")


async def repeated(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call until the store answers: with so many racers one call may time out."""
    while True:
        with suppress(StoreUnavailable):
            return await call()


async def take_part(url: str, path: Path, on_limit: OnLimit, submissions: int, start: Barrier) -> None:
    """Open the store, wait for all others to have done so, and race."""
    store = await open_store(url)
    await asyncio.to_thread(start.wait)
    with path.open("w") as file:
        await Racer(store, path.stem, on_limit, file).run(submissions)
    await store.close()


async def opened_once(url: str) -> None:
    """Open the store and close it again: what is loaded for it now, no child has to load."""
    await (await open_store(url)).close()


def main(url: str, folder: str, on_limit: OnLimit, processes: int, submissions: int) -> int:
    """Fork the processes, and wait for them; 0 when all ended well."""
    asyncio.run(opened_once(url))
    forking = get_context("fork")
    start = forking.Barrier(processes)

    def one(number: int) -> None:
        asyncio.run(take_part(url, Path(folder) / f"racer{number}.jsonl", on_limit, submissions, start))

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an exit ends the daemons among its children too
    racers = [forking.Process(target=one, args=(number,), daemon=True) for number in range(processes)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    return sum(racer.exitcode != 0 for racer in racers)


if __name__ == "__main__":
    _, url, folder, on_limit, processes, submissions = sys.argv
    sys.exit(main(url, folder, on_limit, int(processes), int(submissions)))  # type: ignore[arg-type]
