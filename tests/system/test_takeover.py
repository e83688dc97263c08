"""Jobs of killed or frozen workers are taken over once, and late writes are ignored."""

import asyncio
import signal
import time
from collections.abc import Callable

import pytest

from examples.stock_chat.demo.server_events import ServerEvent, server_events
from sidelane import State
from tests.system import shop
from tests.system.process_scenario import ProcessScenario, text_by_attempt
from tests.system.store_urls import ON_EVERY_STORE
from tests.system.waiting import until

WORDS = 25
STORY = "".join(f"{number} " for number in range(WORDS))


@ON_EVERY_STORE
@pytest.mark.row("R9")
async def test_stream_continues_after_its_worker_is_killed(
    scenario: ProcessScenario, lease: float, record_property: Callable[[str, object], None]
) -> None:
    workers = {name: await scenario.worker(name) for name in ("w1", "w2")}
    _, client = await scenario.api()
    events: list[ServerEvent] = []
    killed = started_over = 0.0
    headers = {"Accept": "text/event-stream"}
    async with client.stream("POST", "/stories", params={"words": WORDS, "pace": 0.06}, headers=headers) as response:
        async for event in server_events(response):
            events.append(event)
            if event.name == "token" and event.data["text"] == "5 " and not killed:
                (first,) = scenario.processes.notes("start")
                workers[first["worker"]].kill()
                killed = time.monotonic()
            if event.name == "attempt":
                started_over = time.monotonic()

    assert [event.name for event in events if event.name != "token"] == ["job", "attempt", "end"]
    assert events[-1].data["state"] == "succeeded"
    assert events[-1].data["result"] == STORY
    cut, whole = text_by_attempt([(event.name, event.data) for event in events])
    assert STORY.startswith(cut)
    assert whole == STORY
    ids = [event.id for event in events if event.name != "job"]
    assert len(set(ids)) == len(ids), "each event came once"
    assert started_over - killed < lease + 2
    record_property("takeover_after_sigkill_s", round(started_over - killed, 2))
    job = events[0].data["id"]
    assert {note["worker"] for note in scenario.processes.notes("start", job)} == {"w1", "w2"}
    record = await scenario.record(job)
    assert (record.attempt, record.worker_losses, record.failures) == (2, 1, 0)


@ON_EVERY_STORE
@pytest.mark.parametrize("woken", ["while the second runs it", "when the second has finished it"])
async def test_late_writes_of_a_frozen_worker_are_ignored(scenario: ProcessScenario, woken: str) -> None:
    workers = {name: await scenario.worker(name) for name in ("w1", "w2")}
    (job,) = await scenario.submit(shop.hold.call())
    first = (await scenario.wait_started(job))["worker"]
    await until(lambda: _said_before(scenario, job), "the first word is in the log")

    workers[first].signal(signal.SIGSTOP)
    second = (await scenario.wait_started(job, attempt=2))["worker"]
    assert second != first
    scenario.processes.open_gate(first)  # what the frozen one does as soon as it wakes is to go on and finish
    if woken == "when the second has finished it":
        scenario.processes.open_gate(second)
        await scenario.wait_finished(job)
    workers[first].signal(signal.SIGCONT)
    await until(lambda: _noticed(scenario, first), "the frozen worker has heard that it lost the job")
    if woken == "while the second runs it":
        record = await scenario.record(job)
        assert (record.state, record.worker is not None and record.worker.startswith(f"{second}:")) == (
            State.RUNNING,
            True,
        )
        scenario.processes.open_gate(second)

    record = await scenario.wait_finished(job)
    assert (record.state, record.result) == (State.SUCCEEDED, f'"{second}"')
    assert (record.attempt, record.worker_losses, record.failures) == (2, 1, 0)
    log = await scenario.event_log(job)
    assert [name for name, _ in log] == ["token", "attempt", "token", "token", "end"]
    assert text_by_attempt(log) == ["before ", "before after "]

    (job,) = await scenario.submit(shop.add.call(1, 2))  # and the woken worker is still of use
    workers[second].kill()
    assert (await scenario.wait_finished(job)).result == "3"


async def _said_before(scenario: ProcessScenario, job: str) -> bool:
    return (await scenario.record(job)).last > 0


def _noticed(scenario: ProcessScenario, worker: str) -> bool:
    return any(
        started.logged("lease is lost") or started.logged("had been given to another worker")
        for started in scenario.processes.named(worker)
    )


@pytest.mark.long
@ON_EVERY_STORE
async def test_only_worker_that_was_frozen_continues_the_same_attempt(scenario: ProcessScenario, lease: float) -> None:
    worker = await scenario.worker("w1")
    (job,) = await scenario.submit(shop.hold.call())
    await scenario.wait_started(job)

    for _ in range(2):
        worker.signal(signal.SIGSTOP)
        await asyncio.sleep(1.5 * lease)  # nothing happens now that could be waited for
        worker.signal(signal.SIGCONT)
        await asyncio.sleep(0.5 * lease)  # time to do something wrong
    scenario.processes.open_gate("w1")

    record = await scenario.wait_finished(job)
    assert (record.state, record.result) == (State.SUCCEEDED, '"w1"')
    assert (record.attempt, record.worker_losses) == (1, 0)
    assert text_by_attempt(await scenario.event_log(job)) == ["before after "]
    assert not worker.exited
