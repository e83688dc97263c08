"""What attempts report about their usage, and which of them were throttled."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sidelane import JobFailed, RetryLater, Sidelane
from sidelane.external.outbox import DISPATCH_TASK, dispatch_spec
from sidelane.model.history import Count, merged
from sidelane.model.job import JobSpec
from sidelane.model.outcome import AttemptResult, Dispatched
from sidelane.model.worker import ClaimRequest
from sidelane.telemetry import AttemptEnded, AttemptOutcome, TelemetryEvent, Usage
from sidelane.worker.outcome import is_throttled
from tests.system.waiting import until
from tests.telemetry import usage_tasks as tasks

TIMEOUT = 30.0


@pytest.fixture
async def lane(tmp_path: Path) -> AsyncIterator[Sidelane]:
    tasks.lane.configuration.settings.__dict__.update(store=f"sqlite:///{tmp_path / 'jobs.db'}")
    async with tasks.lane.open(workers=1):
        yield tasks.lane


@pytest.fixture
async def ends(lane: Sidelane) -> AsyncIterator[list[AttemptEnded]]:
    reported: list[AttemptEnded] = []

    def listen(event: TelemetryEvent) -> None:
        if isinstance(event, AttemptEnded):
            reported.append(event)

    unsubscribe = lane.telemetry.subscribe(listen)
    yield reported
    unsubscribe()


@pytest.mark.parametrize(
    ("task", "usage"),
    [
        (tasks.on_the_loop, Usage(input_tokens=101, output_tokens=20, cost=0.75)),
        (tasks.in_a_thread, Usage(output_tokens=1000)),
        (tasks.in_a_process, Usage(input_tokens=7, cost=1)),
        (tasks.llm_on_the_loop, Usage(input_tokens=11, output_tokens=2, cost=0.5)),
        (tasks.llm_in_a_thread, Usage(input_tokens=12, output_tokens=2)),
        (tasks.llm_in_a_process, Usage(input_tokens=13, output_tokens=2)),
    ],
)
async def test_usage_of_an_attempt_is_added_up_and_counted(
    lane: Sidelane, ends: list[AttemptEnded], task: Any, usage: Usage
) -> None:
    job = await task.submit()
    await job.result(TIMEOUT)
    assert (await job.record()).usage == usage
    await until(lambda: ends, "the end is reported")
    assert [each.usage for each in ends] == [usage]
    counts = merged([cell.counts for cell in await lane.client.store.totals()])
    assert counts.get(Count.INPUT_TOKENS, 0) == usage.input_tokens
    assert counts.get(Count.OUTPUT_TOKENS, 0) == usage.output_tokens
    assert counts.get(Count.COST_MICROS, 0) == round(usage.cost * 1_000_000)


async def test_wrong_usage_raises_value_error(lane: Sidelane) -> None:
    assert await (await tasks.wrong.submit()).result(TIMEOUT) == ""


async def test_throttled_attempts_are_counted(lane: Sidelane, ends: list[AttemptEnded]) -> None:
    with pytest.raises(JobFailed):
        await (await tasks.refused.submit()).result(TIMEOUT)
    await until(lambda: len(ends) == 3, "all ends are reported")
    assert [each.throttled for each in ends] == [False, True, True]  # at first the task only polls
    counts = merged([cell.counts for cell in await lane.client.store.totals()])
    assert counts[Count.THROTTLED] == 2


async def test_child_process_tells_that_it_was_throttled(lane: Sidelane, ends: list[AttemptEnded]) -> None:
    await (await tasks.refused_in_a_process.submit()).result(TIMEOUT)
    await until(lambda: len(ends) == 2, "both ends are reported")
    assert [(each.outcome, each.throttled, each.usage.input_tokens) for each in ends] == [
        (AttemptOutcome.RETRIED, True, 3), (AttemptOutcome.SUCCEEDED, False, 3),
    ]  # fmt: skip


async def test_a_dispatch_that_waits_for_another_worker_is_not_throttled(
    lane: Sidelane, ends: list[AttemptEnded]
) -> None:
    store = lane.client.store
    await store.submit([JobSpec(id="a", task="outside", queue="elsewhere")])
    request = ClaimRequest(request="r1", worker="w1", queues={"elsewhere": 1}, lease=60)
    (claimed,) = (await store.claim(request)).jobs
    send = lane.registry.tasks[DISPATCH_TASK]
    sending = dispatch_spec(send, claimed.record, claimed.lease, seconds=60, arguments=None, to="sqs://work")
    await store.finish([AttemptResult(lease=claimed.lease, outcome=Dispatched(60, sending))])
    await until(lambda: ends, "the dispatch has tried")
    assert (ends[0].task, ends[0].outcome, ends[0].throttled) == (DISPATCH_TASK, AttemptOutcome.RELEASED, False)


def with_attributes(**attributes: Any) -> Exception:
    error = RuntimeError("it broke")
    error.__dict__.update(attributes)
    return error


def caused_by(cause: BaseException) -> Exception:
    error = RuntimeError("wrapped")
    error.__cause__ = cause
    return error


class FailingProperty(Exception):
    @property
    def status(self) -> int:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "throttled"),
    [
        (with_attributes(status_code=429), True),
        (with_attributes(status=429), True),
        (with_attributes(response=SimpleNamespace(status_code=429)), True),
        (caused_by(with_attributes(status=429)), True),
        (with_attributes(status_code=503), False),
        (with_attributes(response={"status_code": 429}), False),
        (FailingProperty(), False),
        (RetryLater(5), False),
        (ValueError(), False),
    ],
)
def test_error_tells_whether_a_provider_asked_to_try_later(error: Exception, throttled: bool) -> None:
    assert is_throttled(error) is throttled


def test_retry_later_is_throttled_if_such_an_error_caused_it() -> None:
    error = RetryLater(5)
    error.__context__ = with_attributes(status_code=429)  # as in `except Refused: raise RetryLater(5)`
    assert is_throttled(error)


def test_circular_causes_end() -> None:
    first, second = RuntimeError(), RuntimeError()
    first.__cause__, second.__cause__ = second, first
    assert not is_throttled(first)
