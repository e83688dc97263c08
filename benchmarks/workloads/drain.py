"""No-op drain: one worker process runs a full queue; measured from the first start of a job to the last."""

import time

from benchmarks.contestants import Contestant, ContestantFailed, Trial
from benchmarks.measured import Figures
from benchmarks.workload import Bar, Column, Results, Workload, ratio_bar


def drained(trial: Trial, jobs: int, slots: int, *, task: str = "noop", timeout: float = 120) -> Figures:
    """Submit jobs, run a worker until they are done, and check every result."""
    contestant = trial.contestant
    trial.ask("submit", task, jobs, "batched")
    records = jobs * (1 if task == "noop" else 2)
    with trial.worker(slots):
        until = time.monotonic() + timeout
        while trial.count() < records:
            if time.monotonic() > until:
                raise ContestantFailed(f"{trial.count()} of {records} in {timeout:.0f} s: {trial.log_tail()}")
            time.sleep(0.01)
        last = time.monotonic()
        checked = trial.ask("check", 60)
        visible = time.monotonic() - last
    times = [at for _, _, at in trial.marks()]
    numbers = {number for number, _, _ in trial.marks()}
    if not checked["right"] or numbers != set(range(jobs)):
        raise ContestantFailed(f"{contestant.name}: {checked['missing']} results missing, or wrong ones")
    return {
        "seconds": (max(times[:records]) - min(times)) / 1e9,
        "twice": len(times) - records,
        "visible": visible,
    }


def measure(trial: Trial, quick: bool) -> Figures:
    contestant = trial.contestant
    jobs = int((1_000 if quick else 5_000) * contestant.share)
    figures = drained(trial, jobs, contestant.drain_slots or contestant.slots)
    return {"per_second": jobs / figures["seconds"], "twice": figures["twice"], "jobs": jobs}


def bars(results: Results) -> list[Bar]:
    what = "no-op drain, one worker process each"
    return [
        ratio_bar(f"{what}, to the fastest asyncio peer", results, "per_second", 10, lambda each: each.asyncio and on_redis(each)),
        ratio_bar(f"{what}, to the fastest peer of all", results, "per_second", 5, on_redis),
        ratio_bar(
            "the same on SQLite, to huey (which loses what it was running)",
            results, "per_second", 3, lambda each: each.name == "huey", ours="sidelane-sqlite",
        ),
    ]  # fmt: skip


def on_redis(contestant: Contestant) -> bool:
    return contestant.store == "redis"


WORKLOAD = Workload(
    name="drain",
    title="No-op drain",
    about=__doc__ or "",
    measure=measure,
    columns=[
        Column(figure="per_second", heading="jobs/s"),
        Column(figure="jobs", heading="jobs a round"),
        Column(figure="twice", heading="run twice"),
    ],
    bars=bars,
    quick=lambda each: each.name != "dbos",
)
