"""Jobs of 1,000 users with three limits each that are never reached, compared with jobs of one user without limits.

One worker process. The tasks are measured alternately, and each ratio compares neighbours. *At once*: the worker runs while another
process submits. Limits that reject count at the submit, the others when a job starts.
"""

import asyncio
import time
from collections import defaultdict
from dataclasses import replace
from statistics import median

from benchmarks.contestants import ContestantFailed, Trial
from benchmarks.measured import Figures
from benchmarks.workload import Bar, Column, Results, Workload
from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store

LEAST = 0.7

PLAIN, WAITING, REJECTING = TASKS = "noop", "waiting", "rejecting"
"""Tasks of `peers/sidelane_limits.py`."""

REPEATS = 3


def measure(trial: Trial, quick: bool) -> Figures:
    jobs = 500 if quick else 10_000
    limited = replace(trial.contestant, script="sidelane_limits.py")
    own = Trial(limited, trial.folder, trial.environment["BENCH_URL"], trial.server)
    rates: dict[str, list[float]] = defaultdict(list)
    with own.worker(limited.drain_slots):
        for _ in range(REPEATS):
            for task in TASKS:
                for what, rate in asyncio.run(measure_task(own, task, jobs)).items():
                    rates[f"{task}_{what}"].append(rate)
    figures: Figures = {name: median(found) for name, found in rates.items()}
    for name in (f"{task}_{what}" for task in (WAITING, REJECTING) for what in ("submit", "drain", "both")):
        plain = rates[f"{PLAIN}_{name.partition('_')[2]}"]
        figures[f"{name}_ratio"] = median(ours / bare for ours, bare in zip(rates[name], plain, strict=True))
    return {"jobs": jobs, **figures}


async def measure_task(trial: Trial, task: str, jobs: int) -> Figures:
    """Return the jobs per second of submits from 100 callers, of the worker that drains them, and of both at once."""
    store = await open_store(trial.environment["BENCH_URL"])
    await store.pause("default")
    submitted = await asyncio.to_thread(trial.ask, "submit", task, jobs, "callers")
    before = trial.count()
    await store.pause("default", False)
    drained = await duration(trial, store, before, jobs)
    await check(trial, task)
    before += jobs
    await asyncio.to_thread(trial.ask, "submit", task, jobs, "batched")
    both = await duration(trial, store, before, jobs)
    await check(trial, task)
    await store.close()
    return {"submit": jobs / submitted["callers"]["seconds"], "drain": jobs / drained, "both": jobs / both}


async def duration(trial: Trial, store: Store, before: int, jobs: int) -> float:
    """Wait until `jobs` more have started and all have ended; return the seconds from the first start to the last."""
    until = time.monotonic() + 120
    while trial.count() < before + jobs or any(queue.running for queue in await store.stats()):
        if time.monotonic() > until:
            raise ContestantFailed(f"{trial.count() - before} of {jobs} in 120 s: {trial.log_tail()}")
        await asyncio.sleep(0.02)
    times = [at for _, _, at in trial.marks()[before:]]
    return (max(times) - min(times)) / 1e9


async def check(trial: Trial, task: str) -> None:
    if not (await asyncio.to_thread(trial.ask, "check", 60))["right"]:
        raise ContestantFailed(f"{task}: results are missing, or wrong")


def bars(results: Results) -> list[Bar]:
    held = []
    for name in ("sidelane", "sidelane-sqlite"):
        for what, words in (("drain", "a full queue"), ("both", "while others submit")):
            ratio = results[name].median(f"{WAITING}_{what}_ratio") if name in results else None
            if ratio is not None:
                shown = f"{name}: three limits and 1,000 users to none and one, {words}"
                held.append(Bar(shown, f"{ratio:.2f} x", f">= {LEAST} x", ratio >= LEAST))
    return held


WORKLOAD = Workload(
    name="limits",
    title="Limits",
    about=__doc__ or "",
    measure=measure,
    columns=[
        Column(figure="waiting_drain_ratio", heading="drain", form="{:.2f}"),
        Column(figure="waiting_both_ratio", heading="at once", form="{:.2f}"),
        Column(figure="waiting_submit_ratio", heading="submit", form="{:.2f}"),
        Column(figure="rejecting_drain_ratio", heading="rejecting: drain", form="{:.2f}"),
        Column(figure="rejecting_both_ratio", heading="at once", form="{:.2f}"),
        Column(figure="rejecting_submit_ratio", heading="submit", form="{:.2f}"),
        Column(figure="noop_drain", heading="without: drain, jobs/s"),
        Column(figure="noop_both", heading="at once, jobs/s"),
        Column(figure="noop_submit", heading="submit, jobs/s"),
        Column(figure="jobs", heading="jobs a turn"),
    ],
    bars=bars,
    rounds=3,
    long=300.0,  # it is many measurements in one
    takes_part=lambda each: each.ours,
    quick=lambda each: each.name == "sidelane",
)
