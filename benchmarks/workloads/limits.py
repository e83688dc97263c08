"""Jobs of 1,000 users with three limits each, none of them ever reached, to those of one user with none: one worker process.

*Both at once* is a worker that runs while another process submits. *At the submit* is the same with limits that reject, which are
counted at the submit; the others are counted when a job starts.
"""

import time
from dataclasses import replace

from benchmarks.contestants import Arena, ContestantFailed, arena_of
from benchmarks.measured import Figures
from benchmarks.workload import Bar, Column, Results, Workload

LEAST = 0.7


def measure(arena: Arena, quick: bool) -> Figures:
    jobs = 1_000 if quick else 10_000
    limited = replace(arena.contestant, script="sidelane_limits.py")
    figures: Figures = {"jobs": jobs}
    for task in ("noop", "rejecting"):
        with arena_of(limited) as own:
            figures |= rates(own, task, jobs)
    figures |= rates(Arena(limited, arena.folder, arena.environment["BENCH_URL"], arena.server), "waiting", jobs)
    for task in ("waiting", "rejecting"):
        for what in ("submit", "drain", "both"):
            figures[f"{task}_{what}_ratio"] = figures[f"{task}_{what}"] / figures[f"noop_{what}"]
    return figures


def rates(arena: Arena, task: str, jobs: int) -> Figures:
    """Give the jobs a second of submits from 100 callers, of a worker that drains them, and of both at once."""
    submitted = arena.ask("submit", task, jobs, "callers")["callers"]["seconds"]
    with arena.worker(arena.contestant.drain_slots):
        drained = spent(arena, 0, jobs)
        arena.ask("submit", task, jobs, "batched")
        both = spent(arena, jobs, jobs)
        if not arena.ask("check", 60)["right"]:
            raise ContestantFailed(f"{task}: results are missing, or wrong")
    return {f"{task}_submit": jobs / submitted, f"{task}_drain": jobs / drained, f"{task}_both": jobs / both}


def spent(arena: Arena, before: int, jobs: int) -> float:
    """Wait until so many more have started, and give the seconds from the first start of these to the last."""
    until = time.monotonic() + 120
    while arena.count() < before + jobs:
        if time.monotonic() > until:
            raise ContestantFailed(f"{arena.count() - before} of {jobs} in 120 s: {arena.last_words()}")
        time.sleep(0.01)
    times = [at for _, _, at in arena.marks()[before:]]
    return (max(times) - min(times)) / 1e9


def bars(results: Results) -> list[Bar]:
    held = []
    for name in ("sidelane", "sidelane-sqlite"):
        for what, words in (("drain", "a full queue"), ("both", "while others submit")):
            ratio = results[name].middle(f"waiting_{what}_ratio") if name in results else None
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
        Column(figure="waiting_both_ratio", heading="both at once", form="{:.2f}"),
        Column(figure="waiting_submit_ratio", heading="submit", form="{:.2f}"),
        Column(figure="rejecting_drain_ratio", heading="at the submit: drain", form="{:.2f}"),
        Column(figure="rejecting_both_ratio", heading="both", form="{:.2f}"),
        Column(figure="rejecting_submit_ratio", heading="submit", form="{:.2f}"),
        Column(figure="noop_drain", heading="without, drain, jobs/s"),
        Column(figure="noop_both", heading="both, jobs/s"),
        Column(figure="noop_submit", heading="submit, jobs/s"),
        Column(figure="jobs", heading="jobs"),
    ],
    bars=bars,
    long=200.0,  # it is several measurements in one
    takes_part=lambda each: each.ours,
    quick=lambda each: each.name == "sidelane",
)
