"""Time from the kill of a worker that runs 20 jobs, with all its processes, until another worker runs all of them again."""

import time

from benchmarks.contestants import ContestantFailed, Trial, kill_group
from benchmarks.measured import Figures
from benchmarks.workload import Bar, Column, Results, Workload

JOBS = 20
TIMEOUT = 60.0
"""Seconds to wait; what the docs promise is in the table of contestants."""

LEASE = 10.0


def measure(trial: Trial, quick: bool) -> Figures:
    timeout = 25.0 if quick else TIMEOUT
    jobs = min(JOBS, trial.contestant.slots)
    with trial.worker(trial.contestant.slots) as first:
        trial.ask("submit", "hold", jobs, "batched")
        _await(trial, jobs, 30)
        running = {number for number, _, _ in trial.marks()}
        with trial.worker(trial.contestant.slots):
            time.sleep(2 if quick else 6)  # it is up and idle
            kill_group(first)
            killed = time.monotonic_ns()
            _await(trial, 2 * jobs, timeout, must=False)
            again = [(number, at) for number, _, at in trial.marks() if at > killed]
    if len(running) < jobs:
        raise ContestantFailed(f"only {len(running)} of {jobs} jobs were running")
    figures: Figures = {"again": len({number for number, _ in again}), "jobs": jobs}
    if figures["again"] == jobs:
        figures["seconds"] = (max(at for _, at in again) - killed) / 1e9
    return figures


def _await(trial: Trial, records: int, timeout: float, *, must: bool = True) -> None:
    until = time.monotonic() + timeout
    while trial.count() < records:
        if time.monotonic() > until:
            if must:
                raise ContestantFailed(f"{trial.count()} of {records}: {trial.log_tail()}")
            return
        time.sleep(0.02)


def bars(results: Results) -> list[Bar]:
    if "sidelane" not in results or not results["sidelane"].rounds:
        return []
    seconds = results["sidelane"].of("seconds")
    limit = LEASE + 2
    figure = f"{max(seconds):.1f} s" if len(seconds) == len(results["sidelane"].rounds) else "not all in time"
    met = len(seconds) == len(results["sidelane"].rounds) and max(seconds) <= limit
    return [Bar("after SIGKILL of a worker its jobs run elsewhere, the longest", figure, f"<= {limit:.0f} s", met)]


WORKLOAD = Workload(
    name="recovery",
    title="Recovery after SIGKILL",
    about=__doc__ or "",
    measure=measure,
    columns=[
        Column(figure="seconds", heading="seconds (- is over 60)", form="{:.1f}"),
        Column(figure="again", heading="ran again"),
        Column(figure="jobs", heading="of"),
    ],
    bars=bars,
    together=4,
    quick=lambda each: each.name == "sidelane",
    lower_is_better=True,
)
