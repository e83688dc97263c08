"""Time from a submit to the start of the job in an idle worker process."""

import time
from statistics import median

from benchmarks.contestants import Trial
from benchmarks.measured import Figures
from benchmarks.workload import Bar, Column, Results, Workload


def measure(trial: Trial, quick: bool) -> Figures:
    with trial.worker(trial.contestant.slots):
        time.sleep(1)
        waits = sorted(trial.ask("starts", 5 if quick else 100)["waits"])
    return {"p50": median(waits), "p99": waits[int(len(waits) * 0.99)], "most": waits[-1]}


def bars(results: Results) -> list[Bar]:
    if "sidelane" not in results or not results["sidelane"].rounds:
        return []
    p50, p99 = (results["sidelane"].median(figure) or 0 for figure in ("p50", "p99"))
    return [
        Bar("submit to start at rest, p50", f"{p50:.1f} ms", "<= 3 ms", p50 <= 3),
        Bar("submit to start at rest, p99", f"{p99:.1f} ms", "<= 10 ms", p99 <= 10),
    ]


WORKLOAD = Workload(
    name="start",
    title="Submit to start, at rest",
    about=__doc__ or "",
    measure=measure,
    columns=[
        Column(figure="p50", heading="p50 ms", form="{:.1f}"),
        Column(figure="p99", heading="p99 ms", form="{:.1f}"),
        Column(figure="most", heading="most, ms", form="{:.1f}"),
    ],
    bars=bars,
    lower_is_better=True,
    quick=lambda each: each.asyncio and each.store == "redis",
)
