"""Redis memory of a queued job with a payload of 100 bytes."""

from benchmarks.contestants import Trial
from benchmarks.measured import Figures
from benchmarks.server import Server
from benchmarks.workload import Bar, Column, Results, Workload


def measure(trial: Trial, quick: bool) -> Figures:
    assert isinstance(trial.server, Server)
    trial.ask("submit", "noop", 10, "batched")  # loads scripts and opens connections
    before = int(trial.server.info("memory")["used_memory"])
    jobs = 1_000 if quick else 10_000
    trial.ask("submit", "noop", jobs, "batched", "x" * 100)
    return {"bytes": (int(trial.server.info("memory")["used_memory"]) - before) / jobs, "jobs": jobs}


def bars(results: Results) -> list[Bar]:
    used = results["sidelane"].median("bytes") if "sidelane" in results else None
    if used is None:
        return []
    return [Bar("Redis memory of a queued job", f"{used:,.0f} bytes", "<= 1,000 bytes", used <= 1000)]


WORKLOAD = Workload(
    name="memory",
    title="Redis memory of a queued job",
    about=__doc__ or "",
    measure=measure,
    columns=[Column(figure="bytes", heading="bytes a job"), Column(figure="jobs", heading="jobs")],
    bars=bars,
    lower_is_better=True,
    takes_part=lambda each: each.queues and each.store == "redis",
)
