"""Traces of real processes: all spans of an attempt are sent before its process ends, and they agree with the records."""

import signal
import sys
from collections import Counter
from typing import Any

import pytest

from sidelane import State
from sidelane.model.ids import new_nonce
from sidelane.model.outcome import AttemptResult
from sidelane.model.worker import ClaimRequest
from tests.exporters import traced_app
from tests.exporters.collector import Collector, collector
from tests.system.process_scenario import ProcessScenario
from tests.system.processes import RunningProcess
from tests.system.waiting import until
from tests.worker.test_isolation_workers import LOST

__all__ = ["collector"]

pytestmark = pytest.mark.long

LANE = "tests.exporters.traced_app:lane"

NEVER = {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
"""Sends spans only if something waits for them."""


def traced(collector: Collector, **changed: str) -> dict[str, str]:
    return {"SIDELANE_TRACES": "otlp", **collector.environment, **changed}


async def stop(worker: RunningProcess) -> None:
    worker.signal(signal.SIGTERM)
    await until(lambda: worker.exited, "the worker has drained")


async def test_spans_agree_with_the_records_of_attempts_that_end_in_every_way(
    scenario: ProcessScenario, collector: Collector
) -> None:
    tasks = traced_app
    calls: dict[str, Any] = {
        "coroutine": tasks.add.call(1, 2), "thread": tasks.add_in_thread.call(1, 2), "process": tasks.add_in_process.call(1, 2),
        "retried": tasks.flaky.call(), "refused": tasks.refuse.call(), "released": tasks.later.call(),
        "timed out": tasks.dawdle.call(), "timed out in a thread": tasks.overrun.call(),
        "timed out in a process": tasks.stop_in_process.call(), "died": tasks.die.call(), "cancelled": tasks.wait.call(),
    }  # fmt: skip
    worker = await scenario.worker("w1", LANE, **traced(collector, **NEVER))
    jobs = dict(zip(calls, await scenario.submit(*calls.values()), strict=True))

    async def runs() -> bool:
        return (await scenario.record(jobs["cancelled"])).state is State.RUNNING

    await until(runs, "the job to cancel runs")
    await scenario.store.cancel([jobs["cancelled"]])
    records = dict(zip(jobs, await scenario.wait_all_finished([*jobs.values()]), strict=True))
    await stop(worker)

    expected = {name: ["succeeded"] for name in calls} | {
        "retried": ["retried", "retried", "succeeded"], "refused": ["failed"], "released": ["released", "succeeded"],
        "timed out": ["failed"], "timed out in a thread": ["failed"], "timed out in a process": ["failed"], "died": ["lost"],
        "cancelled": ["cancelled"],
    }  # fmt: skip
    assert {name: collector.outcomes(job) for name, job in jobs.items()} == expected
    for name, record in records.items():
        attempts = collector.named("process default", record.id)
        assert [each.attributes["sidelane.attempt"] for each in attempts] == list(range(1, record.attempt + 1)), name
        assert attempts[-1].failed is (record.state is State.FAILED), name
        assert [each.failed for each in attempts[:-1]] == (
            [True] * (record.attempt - 1) if record.failures else [False] * (record.attempt - 1)
        ), name
        assert record.started is not None
        assert record.ended is not None
        assert abs(attempts[-1].started - record.started) < 5, name
        assert abs(attempts[-1].ended - record.ended) < 5, name
    (waiting,) = collector.named("waiting")
    assert waiting.parent == collector.named("process default", jobs["timed out in a process"])[0].id


async def test_spans_of_a_child_process_are_sent_before_its_outcome(
    scenario: ProcessScenario, collector: Collector
) -> None:
    worker = await scenario.worker("w1", LANE, **traced(collector, **NEVER), SIDELANE_CONCURRENCY="2")
    jobs = await scenario.submit(*(traced_app.add_in_process.call(number, 1) for number in range(10)))
    await scenario.wait_all_finished(jobs)
    worker.kill()
    assert sorted(each.attributes["a"] for each in collector.named("adding") if "pid" in each.attributes) == list(
        range(10)
    )


async def test_ten_processes_of_one_job_each_send_all_their_spans(
    scenario: ProcessScenario, collector: Collector
) -> None:
    command = [sys.executable, "-m", "sidelane.cli", "worker", LANE, "--name", "w", "--concurrency", "1"]
    group = scenario.processes.start("group", *command, "--max-jobs", "1", **traced(collector, **NEVER))
    jobs = []
    for number in range(10):
        jobs += await scenario.submit(traced_app.add.call(number, 1))
        await scenario.wait_all_finished(jobs)
        stopped = 2 * (number + 1)  # it and its parent say so
        await until(lambda: group.log.read_text().count("has stopped") == stopped, "the next process", within=60)  # noqa: B023 - awaited at once
    await stop(group)
    assert [collector.outcomes(job) for job in jobs] == [["succeeded"]] * 10
    assert len(collector.named("adding")) == 10
    assert len({each.resource["process.pid"] for each in collector.named("adding")}) == 10


async def test_an_isolation_worker_sends_the_spans_of_its_job(scenario: ProcessScenario, collector: Collector) -> None:
    (job,) = await scenario.submit(traced_app.add.call(1, 2))
    for _ in range(2):
        claims = await scenario.store.claim(ClaimRequest(request=new_nonce(), worker="dead", ids=(job,)))
        await scenario.store.finish([AttemptResult(lease=claims.jobs[0].lease, outcome=LOST)])
    worker = await scenario.worker("w1", LANE, **traced(collector, **NEVER))
    record = await scenario.wait_finished(job)
    assert record.isolated
    await stop(worker)
    attempt = await collector.span("process default", job)
    assert attempt.resource["process.pid"] != worker.pid
    assert attempt.attributes["sidelane.attempt"] == 3


async def test_a_collector_that_does_not_answer_delays_only_the_first_attempt_of_a_child_process(
    scenario: ProcessScenario, collector: Collector
) -> None:
    collector.hanging.set()
    worker = await scenario.worker("w1", LANE, **traced(collector, **NEVER), SIDELANE_CONCURRENCY="1")
    jobs = await scenario.submit(*(traced_app.add_in_process.call(number, 1) for number in range(6)))
    records = await scenario.wait_all_finished(jobs)
    assert Counter(record.state for record in records) == {State.SUCCEEDED: 6}
    took = [record.ended - record.started for record in records if record.ended and record.started]
    assert sum(seconds > 0.9 for seconds in took) == 1, took
    assert worker.log.read_text().count("spans cannot be sent") == 1
