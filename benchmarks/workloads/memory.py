"""Redis memory that a queued job takes, with a payload of 100 bytes."""

from benchmarks.contestants import Arena
from benchmarks.measured import Figures
from benchmarks.server import Server
from benchmarks.workload import Bar, Column, Results, Workload


def measure(arena: Arena, quick: bool) -> Figures:
    assert isinstance(arena.server, Server)
    arena.ask("submit", "noop", 10, "batched")  # scripts and connections
    before = int(arena.server.info("memory")["used_memory"])
    jobs = 1_000 if quick else 10_000
    arena.ask("submit", "noop", jobs, "batched", "x" * 100)
    return {"bytes": (int(arena.server.info("memory")["used_memory"]) - before) / jobs, "jobs": jobs}


def bars(results: Results) -> list[Bar]:
    used = results["sidelane"].middle("bytes") if "sidelane" in results else None
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
    least_wins=True,
    takes_part=lambda each: each.queues and each.store == "redis",
)
