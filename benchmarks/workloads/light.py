"""A light endpoint of the API process, requested 50 times a second: when idle, and while 100 chats are streamed."""

import threading

from benchmarks.contestants import Trial
from benchmarks.measured import Figures
from benchmarks.workload import Bar, Column, Results, Workload
from benchmarks.workloads.stream import PER_SECOND, clients, service

CHATS = 100


def measure(trial: Trial, quick: bool) -> Figures:
    seconds = 2 if quick else 8
    with service(trial) as (base, _):
        rest = clients(base, "light", seconds)
        chats = threading.Thread(target=clients, args=(base, "chats", CHATS, (seconds + 3) * PER_SECOND, PER_SECOND))
        chats.start()
        threading.Event().wait(2.5)  # all chats have begun
        busy = clients(base, "light", seconds - 1)
        chats.join()
    return {
        "rest": rest["p99"], "busy": busy["p99"], "rest_p50": rest["p50"], "busy_p50": busy["p50"],
        "more": busy["p99"] - rest["p99"],
    }  # fmt: skip


def bars(results: Results) -> list[Bar]:
    more = results["sidelane"].median("more") if "sidelane" in results else None
    if more is None:
        return []
    return [Bar(f"light endpoint, p99 with {CHATS} chats over p99 at rest", f"{more:.1f} ms", "<= 3 ms", more <= 3)]


WORKLOAD = Workload(
    name="light",
    title="Light endpoint",
    about=__doc__ or "",
    measure=measure,
    columns=[
        Column(figure="more", heading="p99 more, ms", form="{:.1f}"),
        Column(figure="busy", heading="p99 with chats, ms", form="{:.1f}"),
        Column(figure="rest", heading="p99 at rest, ms", form="{:.1f}"),
        Column(figure="busy_p50", heading="p50 with chats, ms", form="{:.1f}"),
        Column(figure="rest_p50", heading="p50 at rest, ms", form="{:.1f}"),
    ],
    bars=bars,
    lower_is_better=True,
    quick=lambda each: each.name == "sidelane",
    takes_part=lambda each: each.streams,
)
