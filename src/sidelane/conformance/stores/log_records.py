"""Conformance tests: records that a task logged are events of its log, but neither its output nor part of its figures."""

from dataclasses import replace

from sidelane.conformance.stores.actions import (
    append_tokens,
    claim_job,
    event_texts,
    failure,
    finish,
    read_log,
    record,
    specs,
    start,
    tokens,
)
from sidelane.conformance.stores.counting import measured
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.event import LOG, NewEvent
from sidelane.model.history import Count
from sidelane.model.job import JobSpec
from sidelane.model.outcome import Dispatched, EventAppend, Retried, Succeeded
from sidelane.model.transition import Change, timeline
from sidelane.model.worker import Claimed
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store


def records(*texts: str) -> tuple[NewEvent, ...]:
    return tuple(NewEvent(LOG, f'"{text}"') for text in texts)


async def append(store: Store, claimed: Claimed, ordinal: int, *entries: NewEvent) -> None:
    assert await store.append([EventAppend(lease=claimed.lease, ordinal=ordinal, entries=entries)]) == [True]


class LogRecords(StoreSuite):
    """Events named `log` have numbers like all others. They have no size, and are not counted as events of their attempt."""

    async def test_they_are_in_the_log_in_order_and_once(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await append(store, claimed, 1, *records("a"), *tokens("one"))
        await append(store, claimed, 2, *tokens("one"), *records("b"))
        await finish(store, claimed, Succeeded("1"), *records("c"), ordinal=4)
        events = await read_log(store, "a")
        assert [event.number for event in events] == [1, 2, 3, 4, 5]
        assert await event_texts(store, "a") == ["log", "one", "log", "log", "end"]

    async def test_they_are_neither_the_first_nor_the_last_event_of_an_attempt(
        self, store: Store, clock: ManualClock
    ) -> None:
        claimed = await start(store, *specs("a"))
        await append(store, claimed, 1, *records("a"))
        waiting = await record(store, "a")
        assert (waiting.first_event, waiting.last_event) == (None, None)
        clock.advance(2)
        await append(store, claimed, 1, *records("a"), *tokens("one"))
        clock.advance(3)
        await append(store, claimed, 3, *records("b"))
        running = await record(store, "a")
        assert running.started is not None
        assert running.first_event == running.last_event == running.started + 2

    async def test_an_attempt_that_only_logged_has_no_first_event_in_its_history(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await append(store, claimed, 1, *records("a"))
        await finish(store, claimed, Retried(failure()), *records("b"), ordinal=2)
        job = await record(store, "a")
        assert Change.FIRST_EVENT not in {each.change for each in timeline(job)}
        assert await measured(store, Count.EVENTS, Count.FIRST_EVENT_MS) == [0, 0]

    async def test_only_other_events_are_counted(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        for _ in range(2):
            await append(store, claimed, 1, *records("a", "b"), *tokens("one"))
        await finish(store, claimed, Retried(failure()), *tokens("one"), *records("c"), *tokens("two"), ordinal=3)
        await finish(store, await claim_job(store, "a"), Succeeded("1"), *records("d"))
        assert await measured(store, Count.EVENTS) == [2]

    async def test_those_of_a_dispatched_job_stay_uncounted(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await append(store, claimed, 1, *records("a"))
        await finish(store, claimed, Dispatched(60.0, JobSpec(id="send", task="send")), *records("b"), ordinal=2)
        await finish(store, claimed, Succeeded("1"), *tokens("one"), ordinal=3)
        assert await measured(store, Count.EVENTS) == [1]

    async def test_they_take_no_space_from_other_events(self, store: Store) -> None:
        claimed = await start(store, replace(*specs("a"), max_log_size=len('token"1"')))
        await append(store, claimed, 1, *records("a long record"), *tokens("1"), *records("b"))
        assert await event_texts(store, "a") == ["log", "1", "log"]

    async def test_those_behind_a_truncated_event_are_dropped(self, store: Store) -> None:
        claimed = await start(store, replace(*specs("a"), max_log_size=0))
        await append(store, claimed, 1, *records("a"), *tokens("1"), *records("b"))
        await append(store, claimed, 4, *records("c"))
        assert await event_texts(store, "a") == ["log", "truncated"]
        assert (await record(store, "a")).ordinal == 4

    async def test_missing_ones_are_a_gap_event_too(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await append(store, claimed, 1, *records("a"))
        await append(store, claimed, 3, *records("c"))
        assert await event_texts(store, "a") == ["log", "gap", "log"]
        assert (await record(store, "a")).first_event is not None
        assert await append_tokens(store, claimed, 4, "one")
