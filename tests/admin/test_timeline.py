"""Timeline of a job, and where its time went."""

import pytest

from sidelane.admin.timeline import Phase, time_spent, timeline_document, tokens_per_second
from sidelane.conformance.stores.actions import (
    claim,
    claim_job,
    failure,
    finish,
    record,
    slot_limit,
    specs,
    start,
    submit,
)
from sidelane.model.history import Usage
from sidelane.model.outcome import Lost, Retried, Succeeded
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store
from tests.admin.clocked_store import clock, store

__all__ = ["clock", "store"]


async def test_every_second_of_a_job_belongs_to_a_phase(store: Store, clock: ManualClock) -> None:
    limits = (slot_limit(1, "wait"),)
    holder = await start(store, *specs("holder", limits=limits))
    await submit(store, *specs("a", limits=limits))
    clock.advance(1)
    assert await claim(store) == []
    clock.advance(20)
    await finish(store, holder, Succeeded("1"))
    clock.advance(2)
    await finish_after(store, clock, 30, Lost(failure()))
    clock.advance(4)
    await finish_after(store, clock, 5, Retried(failure()))
    clock.advance(3)
    await finish_after(store, clock, 40, Succeeded("1"))
    clock.advance(1000)
    assert time_spent(await record(store, "a"), clock()) == {
        Phase.QUEUED: 1 + 2 + 4 + 3,
        Phase.WAITING_FOR_LIMIT: 20,
        Phase.REPEATED: 30 + 5,
        Phase.RUNNING: 40,
    }


async def finish_after(store: Store, clock: ManualClock, seconds: float, outcome: Succeeded | Retried | Lost) -> None:
    claimed = await claim_job(store, "a")
    clock.advance(seconds)
    await finish(store, claimed, outcome)


async def test_the_time_of_an_unfinished_job_counts_until_now(store: Store, clock: ManualClock) -> None:
    await submit(store, *specs("a"))
    clock.advance(7)
    assert time_spent(await record(store, "a"), clock()) == {Phase.QUEUED: 7}
    await claim_job(store, "a")
    clock.advance(3)
    assert time_spent(await record(store, "a"), clock()) == {Phase.QUEUED: 7, Phase.RUNNING: 3}


async def test_time_between_an_end_and_a_requeue_belongs_to_no_phase(store: Store, clock: ManualClock) -> None:
    await finish(store, await start(store, *specs("a")), Succeeded("1"))
    clock.advance(100)
    await store.requeue(["a"])
    clock.advance(5)
    assert time_spent(await record(store, "a"), clock()) == {Phase.QUEUED: 5}


async def test_the_document_has_each_change_with_worker_and_release(store: Store, clock: ManualClock) -> None:
    await start(store, *specs("a"), worker="w1", release="8ac11e0")
    document = timeline_document(await record(store, "a"), clock() + 2)
    assert [(each["change"], each["detail"], each["release"]) for each in document["timeline"]] == [
        ("submitted", "", ""),
        ("started", "w1", "8ac11e0"),
    ]
    assert document["time_spent"] == {"running": 2.0}


async def test_tokens_per_second_are_those_of_all_attempts_of_a_finished_job(store: Store, clock: ManualClock) -> None:
    claimed = await start(store, *specs("a"))
    clock.advance(4)
    await finish(store, claimed, Retried(failure()), usage=Usage(output_tokens=50))
    clock.advance(1000)
    claimed = await claim_job(store, "a")
    assert tokens_per_second(claimed.record) is None
    clock.advance(6)
    await finish(store, claimed, Succeeded("1"), usage=Usage(output_tokens=150))
    assert tokens_per_second(await record(store, "a")) == pytest.approx(20)


async def test_a_job_without_output_tokens_has_no_rate(store: Store) -> None:
    await finish(store, await start(store, *specs("a")), Succeeded("1"), usage=Usage(input_tokens=5))
    assert tokens_per_second(await record(store, "a")) is None
