"""Hostile input: what many cases of large, deep, endless or slow input cost an API and a worker in memory, and how long they block
their event loops. The table has the highest figures, and each case is a target."""

from benchmarks.contestants import Contestant, Trial
from benchmarks.hostile_input import MAX_BLOCK, MAX_GROWTH, costs_on, table
from benchmarks.measured import Figures
from benchmarks.workload import Bar, Column, Results, Workload


def measure(trial: Trial, quick: bool) -> Figures:
    folder = trial.folder / "hostile"
    folder.mkdir()
    costs = costs_on(trial.environment["SIDELANE_STORE"], folder)
    print(f"\n{trial.contestant.name}\n{table(costs)}", flush=True)
    return {
        "grown": max(each.grown for each in costs),
        "blocked": max(each.blocked for each in costs),
        "cases": len(costs),
        "missed": sum(not each.is_met for each in costs),
    }


def bars(results: Results) -> list[Bar]:
    held = []
    for name, measured in results.items():
        for figure, most, unit, what in (
            ("grown", MAX_GROWTH, "MB", "memory for hostile input"),
            ("blocked", MAX_BLOCK, "ms", "longest block of an event loop by hostile input"),
        ):
            found = measured.of(figure)
            if found:
                held.append(
                    Bar(f"{name}: {what}", f"{max(found):.1f} {unit}", f"<= {most:.0f} {unit}", max(found) <= most)
                )
    return held


def takes_part(each: Contestant) -> bool:
    return each.name in ("sidelane", "sidelane-sqlite")


WORKLOAD = Workload(
    name="hostile",
    title="Hostile input",
    about=__doc__ or "",
    measure=measure,
    columns=[
        Column(figure="grown", heading="MB, the most", form="{:.1f}"),
        Column(figure="blocked", heading="ms blocked, the longest"),
        Column(figure="cases", heading="measured"),
        Column(figure="missed", heading="above a target"),
    ],
    bars=bars,
    rounds=1,
    lower_is_better=True,
    takes_part=takes_part,
    quick=lambda _: False,
)
