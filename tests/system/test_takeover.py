"""A worker that is killed or frozen loses its jobs to another, once, and can do no harm afterwards."""

import asyncio
import signal
import time
from collections.abc import Callable

import pytest

from examples.stock_chat.demo.server_events import ServerEvent, server_events
from sidelane import State
from tests.system import shop
from tests.system.places import ON_EVERY_STORE
from tests.system.scene import Scene, attempts_of
from tests.system.waiting import until

WORDS = 25
STORY = "".join(f"{number} " for number in range(WORDS))


@ON_EVERY_STORE
async def test_a_stream_goes_on_when_its_worker_is_killed_in_the_middle(
    scene: Scene, lease: float, record_property: Callable[[str, object], None]
) -> None:
    workers = {name: await scene.worker(name) for name in ("w1", "w2")}
    _, client = await scene.api()
    events: list[ServerEvent] = []
    killed = started_over = 0.0
    headers = {"Accept": "text/event-stream"}
    async with client.stream("POST", "/stories", params={"words": WORDS, "pace": 0.06}, headers=headers) as response:
        async for event in server_events(response):
            events.append(event)
            if event.name == "token" and event.data["text"] == "5 " and not killed:
                (first,) = scene.processes.diary("start")
                workers[first["worker"]].kill()
                killed = time.monotonic()
            if event.name == "attempt":
                started_over = time.monotonic()

    assert [event.name for event in events if event.name != "token"] == ["job", "attempt", "end"]
    assert events[-1].data["state"] == "succeeded"
    assert events[-1].data["result"] == STORY
    cut, whole = attempts_of([(event.name, event.data) for event in events])
    assert STORY.startswith(cut)
    assert whole == STORY
    ids = [event.id for event in events if event.name != "job"]
    assert len(set(ids)) == len(ids), "each event came once"
    assert started_over - killed < lease + 2
    record_property("takeover_after_sigkill_s", round(started_over - killed, 2))
    job = events[0].data["id"]
    assert {note["worker"] for note in scene.processes.diary("start", job)} == {"w1", "w2"}
    record = await scene.record(job)
    assert (record.attempt, record.worker_losses, record.failures) == (2, 1, 0)


@ON_EVERY_STORE
@pytest.mark.parametrize("woken", ["while the second runs it", "when the second has finished it"])
async def test_late_writes_of_a_frozen_worker_change_nothing(scene: Scene, woken: str) -> None:
    workers = {name: await scene.worker(name) for name in ("w1", "w2")}
    (job,) = await scene.submit(shop.hold.call())
    first = (await scene.started(job))["worker"]
    await until(lambda: _said_before(scene, job), "the first word is in the log")

    workers[first].signal(signal.SIGSTOP)
    second = (await scene.started(job, attempt=2))["worker"]
    assert second != first
    scene.processes.open_gate(first)  # what the frozen one does as soon as it wakes is to go on and finish
    if woken == "when the second has finished it":
        scene.processes.open_gate(second)
        await scene.ended(job)
    workers[first].signal(signal.SIGCONT)
    await until(lambda: _noticed(scene, first), "the frozen worker has heard that it lost the job")
    if woken == "while the second runs it":
        record = await scene.record(job)
        assert (record.state, record.worker is not None and record.worker.startswith(f"{second}:")) == (
            State.RUNNING,
            True,
        )
        scene.processes.open_gate(second)

    record = await scene.ended(job)
    assert (record.state, record.result) == (State.SUCCEEDED, f'"{second}"')
    assert (record.attempt, record.worker_losses, record.failures) == (2, 1, 0)
    log = await scene.log(job)
    assert [name for name, _ in log] == ["token", "attempt", "token", "token", "end"]
    assert attempts_of(log) == ["before ", "before after "]

    (job,) = await scene.submit(shop.add.call(1, 2))  # and the woken worker is still of use
    workers[second].kill()
    assert (await scene.ended(job)).result == "3"


async def _said_before(scene: Scene, job: str) -> bool:
    return (await scene.record(job)).last > 0


def _noticed(scene: Scene, worker: str) -> bool:
    return any(
        started.said("lease is lost") or started.said("had been given to another worker")
        for started in scene.processes.named(worker)
    )


@ON_EVERY_STORE
async def test_a_lone_worker_that_was_frozen_goes_on_in_the_same_attempt(scene: Scene, lease: float) -> None:
    worker = await scene.worker("w1")
    (job,) = await scene.submit(shop.hold.call())
    await scene.started(job)

    for _ in range(2):
        worker.signal(signal.SIGSTOP)
        await asyncio.sleep(1.5 * lease)  # nothing happens now that could be waited for
        worker.signal(signal.SIGCONT)
        await asyncio.sleep(0.5 * lease)  # time to do something wrong
    scene.processes.open_gate("w1")

    record = await scene.ended(job)
    assert (record.state, record.result) == (State.SUCCEEDED, '"w1"')
    assert (record.attempt, record.worker_losses) == (1, 0)
    assert attempts_of(await scene.log(job)) == ["before after "]
    assert not worker.ended
