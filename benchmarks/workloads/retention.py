"""Very many jobs at a steady rate, each deleted a few seconds after its end: the size of the store early on and at the end."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.contestants import ContestantFailed, Trial
from benchmarks.figures import percentile
from benchmarks.measured import Figures
from benchmarks.workload import Bar, Column, Results, Workload
from sidelane.client.maintenance import Maintenance
from sidelane.model.ids import new_id
from sidelane.model.job import JobSpec
from sidelane.stores.factory import open_store
from sidelane.telemetry import Telemetry

RETENTION = 4.0
"""Seconds a job is kept after its end; its id is kept as long again."""

BATCH = 100
RATES = {"redis": 5_000, "sqlite": 2_500}
"""Jobs per second, well below the limit of each store: a steady rate makes sizes comparable."""

BACKLOG, CATCH_UP = 2_000, 0.5
"""The most jobs that may wait, and the seconds of delay that are caught up, if the machine stalls for a moment."""

WINDOW = 0.1
"""The share of the early jobs over which the median size is taken."""

MAX_DELAY = 1_000
"""The longest time from a submit to its start, in milliseconds: clean-up does not block jobs."""


def measure(trial: Trial, quick: bool) -> Figures:
    jobs, early = (60_000, 30_000) if quick else (1_000_000, 100_000)
    contestant = trial.contestant
    rate = RATES[contestant.store]
    with trial.worker(contestant.drain_slots):
        submitted, calls, sizes = asyncio.run(pass_through(trial, jobs, rate))
    marks = {number: at for number, _, at in trial.marks()}
    if len(marks) != jobs:
        raise ContestantFailed(f"{len(marks)} of {jobs} have run: {trial.log_tail()}")
    delays = [(at - submitted[number // BATCH]) / 1e6 for number, at in marks.items()]
    window = early * WINDOW
    before = median(size for done, size in sizes if early - window < done <= early)
    after = median(size for done, size in sizes if jobs - window < done)
    seconds = (submitted[-1] - submitted[0]) / 1e9
    return {
        "jobs": jobs, "rate": jobs / seconds, "early": early, "before": before, "after": after, "ratio": after / before,
        "submit": max(calls), "start_p99": percentile(delays, 0.99), "start": max(delays),
    }  # fmt: skip


async def pass_through(trial: Trial, jobs: int, rate: int) -> tuple[list[int], list[float], list[tuple[int, float]]]:
    """Submit jobs at a steady rate, and sweep as an API process does.

    Return the time of each call (nanoseconds), its duration (milliseconds), and the store's size by the number of finished jobs.
    """
    url = trial.environment["BENCH_URL"]
    store, size = await open_store(url), size_of(trial)
    maintenance = asyncio.create_task(Maintenance(store, lease=10.0, telemetry=Telemetry()).run())
    submitted, took, sizes = [], [], []
    due = time.monotonic()
    for number in range(0, jobs, BATCH):
        while number - (done := trial.count()) > BACKLOG:  # noqa: ASYNC110 - they run in another process
            await asyncio.sleep(0.01)
        due = max(due + BATCH / rate, time.monotonic() - CATCH_UP)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        submitted.append(time.monotonic_ns())
        await store.submit([spec(number + each) for each in range(BATCH)])
        took.append((time.monotonic_ns() - submitted[-1]) / 1e6)
        if number % 2_000 == 0:
            sizes.append((done, await asyncio.to_thread(size)))
    until = time.monotonic() + 60
    while (done := trial.count()) < jobs and time.monotonic() < until:
        sizes.append((done, await asyncio.to_thread(size)))
        await asyncio.sleep(0.05)
    maintenance.cancel()
    await store.close()
    return submitted, took, sizes


def spec(number: int) -> JobSpec:
    arguments = json.dumps({"number": number, "text": "x" * 100})
    return JobSpec(id=new_id(), task="noop", arguments=arguments, user=f"u{number % 1000}", retention=RETENTION)


def size_of(trial: Trial) -> Callable[[], float]:
    """Return a function that returns the store's size in megabytes: of the file and its WAL, or of the server's memory."""
    server, file = trial.server, trial.folder / "jobs.db"
    if server is not None:
        return lambda: float(server.info("memory")["used_memory"]) / 1e6
    return lambda: sum(each.stat().st_size for each in (file, Path(f"{file}-wal"))) / 1e6


def bars(results: Results) -> list[Bar]:
    held = []
    for name in ("sidelane", "sidelane-sqlite"):
        if name not in results or (ratio := results[name].median("ratio")) is None:
            continue
        jobs, early = (results[name].median(figure) or 0 for figure in ("jobs", "early"))
        what = f"{name}: size of the store after {jobs:,.0f} jobs to its size after {early:,.0f}"
        held.append(Bar(what, f"{ratio:.2f} x", "<= 1.2 x", ratio <= 1.2))
        start = max(results[name].of("start"))
        what = f"{name}: the longest from a submit to its start meanwhile"
        held.append(Bar(what, f"{start:,.0f} ms", f"<= {MAX_DELAY:,} ms", start <= MAX_DELAY))
    return held


WORKLOAD = Workload(
    name="retention",
    title="Retention",
    about=__doc__ or "",
    measure=measure,
    columns=[
        Column(figure="ratio", heading="times the size", form="{:.2f}"),
        Column(figure="before", heading="MB early on", form="{:.1f}"),
        Column(figure="early", heading="after jobs"),
        Column(figure="after", heading="MB at the end", form="{:.1f}"),
        Column(figure="jobs", heading="after jobs"),
        Column(figure="rate", heading="jobs/s"),
        Column(figure="submit", heading="longest submit, ms"),
        Column(figure="start_p99", heading="submit to start, p99 ms", form="{:.1f}"),
        Column(figure="start", heading="longest, ms"),
    ],
    bars=bars,
    rounds=1,
    lower_is_better=True,
    takes_part=lambda each: each.ours,
    quick=lambda each: each.name == "sidelane",
)
