"""1,000 jobs that wait one second each, as for a model's answer: one worker process with the concurrency that its docs allow."""

from benchmarks.contestants import Trial
from benchmarks.measured import Figures
from benchmarks.workload import Bar, Column, Results, Workload
from benchmarks.workloads.drain import drained


def measure(trial: Trial, quick: bool) -> Figures:
    slots = trial.contestant.slots
    jobs = slots if quick else 1_000
    seconds = drained(trial, jobs, slots, task="pause", timeout=300)["seconds"]
    return {"seconds": seconds, "slots": slots, "jobs": jobs, "used": 100 * jobs / slots / seconds}


def bars(_results: Results) -> list[Bar]:
    return []


WORKLOAD = Workload(
    name="wait",
    title="Jobs that wait",
    about=__doc__ or "",
    measure=measure,
    columns=[
        Column(figure="seconds", heading="seconds", form="{:.1f}"),
        Column(figure="jobs", heading="jobs"),
        Column(figure="slots", heading="slots"),
        Column(figure="used", heading="of the slots used, %"),
    ],
    bars=bars,
    lower_is_better=True,
    quick=lambda each: each.name in ("sidelane", "arq", "saq"),
)
