"""Submits from one process: one after another, in batches, and from 100 concurrent callers, each for its own job."""

from benchmarks.contestants import Trial
from benchmarks.measured import Figures
from benchmarks.server import Server
from benchmarks.workload import Bar, Column, Results, Workload, ratio_bar


def measure(trial: Trial, quick: bool) -> Figures:
    jobs = int(trial.contestant.share * (500 if quick else 5_000))
    answer = trial.ask("submit", "noop", jobs, "callers,batched,one", "", 200)
    figures = {how: jobs / answer[how]["seconds"] for how in answer}
    figures |= {"p50": 1000 * answer["one"]["p50"], "p99": 1000 * answer["one"]["p99"]}
    if isinstance(trial.server, Server):
        figures["over"] = figures["p50"] - 1000 * trial.server.round_trip()
    return figures


def bars(results: Results) -> list[Bar]:
    callers = ratio_bar(
        "submitting from 100 callers in one process, to the fastest peer",
        results, "callers", 3, lambda each: each.store == "redis",
    )  # fmt: skip
    over = results["sidelane"].median("over") if "sidelane" in results else None
    if over is None:
        return [callers]
    lone = Bar("a lone submit, p50 over the bare round trip", f"{over:.2f} ms", "<= 1 ms", over <= 1)
    return [callers, lone]


WORKLOAD = Workload(
    name="submit",
    title="Submit",
    about=__doc__ or "",
    measure=measure,
    columns=[
        Column(figure="callers", heading="100 callers, jobs/s"),
        Column(figure="batched", heading="batched, jobs/s"),
        Column(figure="one", heading="one by one, jobs/s"),
        Column(figure="p50", heading="a lone one, p50 ms", form="{:.2f}"),
        Column(figure="p99", heading="p99 ms", form="{:.2f}"),
        Column(figure="over", heading="p50 over a PING, ms", form="{:.2f}"),
    ],
    bars=bars,
    quick=lambda each: each.store == "redis",
)
