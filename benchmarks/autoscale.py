"""Figures of autoscaling: `python -m benchmarks.autoscale [--quick]`, which takes eight minutes, or one.

A service under `sidelane up --autoscale work=1..8` gets 1 job/s, then 20 jobs/s, then 1 job/s again. Jobs take half a second, and
one process runs four at once. The figures are how fast the number of processes follows, how long jobs wait, how often the number
changes, and the worker losses.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from sidelane.model.history import Count
from sidelane.model.ids import new_nonce
from sidelane.model.job import JobRecord, JobSpec, Query
from sidelane.ops.state import StateDirectory
from sidelane.ops.up import control_status
from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store

LANE = """
import asyncio
from sidelane import Queue, Sidelane

lane = Sidelane(queues=[Queue("work", target_wait=5)])

@lane.task(queue="work")
async def work() -> None:
    await asyncio.sleep(0.5)
"""
DESCRIPTION = """
[worker.work]
lane = "service:lane"
concurrency = 4
"""

LOW, HIGH = 1.0, 20.0
TARGET_WAIT = 5.0
NEEDED = 4  # processes: 20 jobs/s of 0.5 s, at most three quarters of the slots busy, four slots each
MAX_UP, MAX_DOWN = 30.0, 360.0


@dataclass(frozen=True)
class Sample:
    at: float
    target: int
    ready: int


@contextmanager
def service(folder: Path) -> Iterator[StateDirectory]:
    """Run the service within the block."""
    (folder / "pyproject.toml").touch()
    (folder / "service.py").write_text(LANE)
    (folder / "sidelane.toml").write_text(DESCRIPTION)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}

    def sidelane(*arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "sidelane.cli", *arguments], cwd=folder, env=environment, check=True)

    sidelane("up", "--autoscale", "work=1..8")
    try:
        yield StateDirectory(folder / ".sidelane")
    finally:
        sidelane("down")


async def submit(store: Store, rate: float, seconds: float) -> None:
    """Submit jobs at an even rate."""
    began = time.monotonic()
    for number in range(round(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        await store.submit([JobSpec(id=new_nonce(), task="work", queue="work")])


async def watch(state: StateDirectory, samples: list[Sample]) -> None:
    """Record the numbers of processes until cancelled."""
    while True:
        document = await asyncio.to_thread(control_status, state, "work")
        if document is not None:
            ready = sum(each["state"] == "ready" for each in document["processes"])
            samples.append(Sample(time.time(), document["target"], ready))
        await asyncio.sleep(0.5)


async def all_jobs(store: Store) -> AsyncIterator[JobRecord]:
    query = Query(limit=200)
    while page := await store.list_jobs(query):
        for job in page:
            yield job
        query = Query(limit=200, before=page[-1].sequence)


async def run(state: StateDirectory, url: str, *, high: float, low: float) -> bool:
    store = await open_store(url)
    samples: list[Sample] = []
    watching = asyncio.create_task(watch(state, samples))
    await submit(store, LOW, 20.0)
    up = time.time()
    await submit(store, HIGH, high)
    down = time.time()
    await submit(store, LOW, low)
    watching.cancel()
    jobs = [job async for job in all_jobs(store)]
    now = time.time()  # until then wait those that have not started
    late = [job.submitted for job in jobs if (job.started or now) - job.submitted > TARGET_WAIT]
    lost = sum(cell.counts.get(Count.LOST, 0) for cell in await store.totals())
    await store.close()
    followed = next((each.at - up for each in samples if each.at > up and each.ready >= NEEDED), None)
    back = next((each.at - down for each in samples if each.at > down and each.target == 1), None)
    changes = [(before.target, after.target) for before, after in pairwise(samples) if before.target != after.target]
    print(f"jobs: {len(jobs):,}, worker losses: {lost}")
    print(f"up: {followed and round(followed, 1)} s until {NEEDED} processes were ready (bar: {MAX_UP:g} s)")
    print(
        f"late: {len(late)} jobs waited over {TARGET_WAIT:g} s; the last came {max(late, default=up) - up:.1f} s after the step"
    )
    print(f"down: {back and round(back, 1)} s until 1 process (bar: {MAX_DOWN:g} s)")
    print(f"changes: {', '.join(f'{before} to {after}' for before, after in changes)}")
    directions = [after > before for before, after in changes]
    flaps = sum(before != after for before, after in pairwise(directions))
    return bool(
        followed and followed <= MAX_UP and lost == 0 and flaps <= 1 and (low < MAX_DOWN or (back and back <= MAX_DOWN))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only the step up")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with service(folder) as state:
            url = f"sqlite:///{folder / 'sidelane.db'}"
            well = asyncio.run(run(state, url, high=40.0, low=5.0 if quick else MAX_DOWN))
    sys.exit(not well)


if __name__ == "__main__":
    main()
