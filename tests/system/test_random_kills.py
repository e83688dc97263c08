"""Random kills of producers and workers: notes outside the store show that no job is lost, or repeated without a worker loss."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from sidelane import JobRecord, State
from sidelane.model.job import Query
from tests.system.process_scenario import ProcessScenario
from tests.system.processes import Processes, RunningProcess
from tests.system.shop import square
from tests.system.store_urls import ON_EVERY_STORE
from tests.system.waiting import until

PRODUCERS, WORKERS = 2, 3

SECONDS = 10.0

SEED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What is wrong with a history: ids of jobs."""

    lost: list[str]  # acknowledged, and not there
    unexpected: list[str]  # there, and nobody asked for them
    stuck: list[str]  # not finished when all is quiet
    failed: list[str]
    wrong: list[str]  # another result than the task gives
    twice: list[str]  # two starts or two effects under one attempt
    unexplained: list[str]  # started again although the process that had it was not killed


def examine(processes: Processes, records: Sequence[JobRecord], killed: Collection[int]) -> Findings:
    """Compare what was noted outside with what the store says."""
    numbers = {note["job"]: note["number"] for note in processes.notes("submit")}
    there = {record.id: record for record in records}
    starts, effects = processes.notes("start"), processes.notes("effect")
    attempts = [Counter((note["job"], note["attempt"]) for note in notes) for notes in (starts, effects)]
    return Findings(
        lost=[note["job"] for note in processes.notes("ack") if note["job"] not in there],
        unexpected=[job for job in there if job not in numbers],
        stuck=[job for job, record in there.items() if not record.state.finished],
        failed=[job for job, record in there.items() if record.state in {State.FAILED, State.CANCELLED}],
        wrong=[
            job
            for job, record in there.items()
            if record.state is State.SUCCEEDED and record.result != str(square(numbers[job]))
        ],
        twice=sorted({job for counts in attempts for (job, _), count in counts.items() if count > 1}),
        unexplained=sorted(
            {
                note["job"]
                for note in starts
                if note["attempt"] < there[note["job"]].attempt and note["pid"] not in killed
            }
        ),
    )


@pytest.mark.long
@ON_EVERY_STORE
@pytest.mark.row("R9")
async def test_random_kills_lose_no_job_and_repeat_none_without_a_worker_loss(
    scenario: ProcessScenario, record_property: Callable[[str, object], None]
) -> None:
    rng, kills = random.Random(SEED), Counter[str]()
    killed: set[int] = set()  # worker processes
    producers = [producer(scenario, number, 0) for number in range(PRODUCERS)]
    workers = [scenario.processes.worker(f"w{number}") for number in range(WORKERS)]
    await until(lambda: scenario.processes.notes("effect"), "work is being done", within=20)

    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        await asyncio.sleep(rng.uniform(0.3, 1.2))
        kills.update([kind := "producers" if kills.total() % 5 == 2 else "workers"])
        if kind == "workers":
            victim = rng.randrange(WORKERS)
            killed.add(workers[victim].pid)
            workers[victim].kill()
            workers[victim] = scenario.processes.worker(f"w{victim}")
        else:
            victim = rng.randrange(PRODUCERS)
            producers[victim].kill()
            producers[victim] = producer(scenario, victim, kills["producers"])
    for each in producers:
        each.send_line("enough")
    await until(lambda: all(each.exited for each in producers), "the producers have ended", within=10)

    async def quiet() -> bool:
        return not await scenario.store.list_jobs(Query(states=frozenset({State.QUEUED, State.RUNNING}), limit=1))

    await until(quiet, "nothing is left to do", within=20)
    records = await scenario.store.list_jobs(Query(limit=100_000))
    findings = examine(scenario.processes, records, killed)
    nothing: list[str] = []
    assert findings == Findings(
        lost=nothing,
        unexpected=nothing,
        stuck=nothing,
        failed=nothing,
        wrong=nothing,
        twice=nothing,
        unexplained=nothing,
    )
    assert len(records) > 100
    assert sum(record.worker_losses for record in records) > 0, "some of it went wrong on the way"
    figures: dict[str, Any] = {
        "jobs": len(records), "killed": dict(kills), "losses": sum(record.worker_losses for record in records),
        "effects_repeated_after_a_loss": len(scenario.processes.notes("effect")) - len(records),
    }  # fmt: skip
    record_property("history", figures)
    print(figures)


def producer(scenario: ProcessScenario, number: int, generation: int) -> RunningProcess:
    name = f"producer-{number}-{generation}"
    return scenario.processes.python(name, "tests.system.producer", name)
