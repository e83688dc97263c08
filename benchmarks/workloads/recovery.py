"""A worker is killed with all its processes while it runs 20 jobs; until all of them run again on another worker."""

import time

from benchmarks.contestants import Arena, ContestantFailed, kill_group
from benchmarks.measured import Figures
from benchmarks.workload import Bar, Column, Results, Workload

JOBS = 20
PATIENCE = 60.0
"""Seconds after which we wait no more; what the docs promise stands beside it."""

LEASE = 10.0


def measure(arena: Arena, quick: bool) -> Figures:
    patience = 25.0 if quick else PATIENCE
    jobs = min(JOBS, arena.contestant.slots)
    with arena.worker(arena.contestant.slots) as first:
        arena.ask("submit", "hold", jobs, "batched")
        _await(arena, jobs, 30)
        running = {number for number, _, _ in arena.marks()}
        with arena.worker(arena.contestant.slots):
            time.sleep(2 if quick else 6)  # it is there, and has nothing to do
            kill_group(first)
            killed = time.monotonic_ns()
            _await(arena, 2 * jobs, patience, must=False)
            again = [(number, at) for number, _, at in arena.marks() if at > killed]
    if len(running) < jobs:
        raise ContestantFailed(f"only {len(running)} of {jobs} jobs were running")
    figures: Figures = {"again": len({number for number, _ in again}), "jobs": jobs}
    if figures["again"] == jobs:
        figures["seconds"] = (max(at for _, at in again) - killed) / 1e9
    return figures


def _await(arena: Arena, records: int, patience: float, *, must: bool = True) -> None:
    until = time.monotonic() + patience
    while arena.count() < records:
        if time.monotonic() > until:
            if must:
                raise ContestantFailed(f"{arena.count()} of {records}: {arena.last_words()}")
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
    least_wins=True,
)
