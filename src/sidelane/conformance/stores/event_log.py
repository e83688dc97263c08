"""Event log: numbers without gaps, exact cursors, and the end as the last event (rules 17 and 18)."""

import json
from dataclasses import replace

from sidelane.conformance.stores.actions import (
    LEASE,
    append_tokens,
    claim,
    claim_job,
    event_texts,
    failure,
    finish,
    pass_time,
    read_log,
    record,
    specs,
    start,
    submit,
    tokens,
)
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.event import Cursor, Event, NewEvent
from sidelane.model.job import MAX_LOG_SIZE, JobSpec
from sidelane.model.outcome import Dispatched, EventAppend, Released, Retried, Succeeded
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store, job_topic


def after(event: Event) -> Cursor:
    return Cursor(event.epoch, event.number)


class EventLog(StoreSuite):
    """Events and their numbers."""

    async def test_the_log_is_empty_until_something_is_emitted(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        assert await read_log(store, "a") == []
        assert await append_tokens(store, claimed, 1)
        await finish(store, claimed, Released())
        assert (await record(store, "a")).last == 0
        assert await read_log(store, "a") == []

    async def test_an_unknown_job_has_no_log(self, store: Store) -> None:
        assert await store.read("unknown") is None
        assert await store.read("unknown", after=Cursor(1, 1)) is None

    async def test_events_are_numbered_in_order_and_have_the_stores_time(
        self, store: Store, clock: ManualClock
    ) -> None:
        claimed = await start(store, *specs("a"))
        clock.advance(3)
        entries = (NewEvent("token", '"x"'), NewEvent("stage.two", '{"deep": ["\\u0000", 1.5, null, "\u4f60"]}'))
        await store.append([EventAppend(lease=claimed.lease, ordinal=1, entries=entries)])
        first, second = await read_log(store, "a")
        assert [(each.number, each.name, each.data) for each in (first, second)] == [
            (1, "token", '"x"'),
            (2, "stage.two", entries[1].data),
        ]
        assert (first.at, second.at, first.epoch) == (clock(), clock(), second.epoch)
        assert (await record(store, "a")).last == 2

    async def test_logs_of_different_jobs_in_one_call_are_separate(self, store: Store) -> None:
        await submit(store, *specs("a", "b"))
        a, b = await claim(store)
        appends = [
            EventAppend(lease=lease, ordinal=ordinal, entries=tokens(text))
            for lease, ordinal, text in ((a.lease, 1, "a1"), (b.lease, 1, "b1"), (a.lease, 2, "a2"))
        ]
        assert await store.append(appends) == [True, True, True]
        assert (await event_texts(store, "a"), await event_texts(store, "b")) == (["a1", "a2"], ["b1"])

    async def test_event_numbers_have_no_gaps_across_attempts(self, store: Store, clock: ManualClock) -> None:
        first = await start(store, *specs("a"))
        await append_tokens(store, first, 1, "one", "two")
        await finish(store, first, Retried(failure()), *tokens("three"), ordinal=3)
        second = await claim_job(store, "a", worker="dies")
        await append_tokens(store, second, 1, "four")
        await pass_time(store, clock, 3 * LEASE)
        third = await claim_job(store, "a")
        await finish(store, third, Succeeded("1"), *tokens("five"))
        assert await event_texts(store, "a") == ["one", "two", "three", "four", "five", "end"]

    async def test_each_attempt_that_emits_has_its_own_epoch(self, store: Store) -> None:
        for text in "abc":
            if text == "a":
                await submit(store, *specs("a"))
            claimed = await claim_job(store, "a")
            await append_tokens(store, claimed, 1, text, text)
            await finish(store, claimed, Released())
        epochs = [event.epoch for event in await read_log(store, "a")]
        assert len(set(epochs)) == 3
        assert [epochs[0], epochs[2], epochs[4]] == [epochs[1], epochs[3], epochs[5]]

    async def test_the_records_progress_is_that_of_the_newest_progress_event(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        entries = (
            NewEvent("progress", '{"percent": 10}'),
            NewEvent("progress", '{"percent": 20}'),
            NewEvent("token", '"x"'),
        )
        await store.append([EventAppend(lease=claimed.lease, ordinal=1, entries=entries)])
        assert (await record(store, "a")).progress == '{"percent": 20}'
        await finish(store, claimed, Succeeded("1"), NewEvent("progress", '{"percent": 99}'), ordinal=4)
        assert (await record(store, "a")).progress == '{"percent": 99}'

    async def test_large_entries_keep_every_byte(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        large = [json.dumps(letter * 300_000) for letter in "abcdef"]
        entries = tuple(NewEvent("blob", data) for data in large)
        assert await store.append([EventAppend(lease=claimed.lease, ordinal=1, entries=entries)]) == [True]
        assert [event.data for event in await read_log(store, "a")] == large

    async def test_a_call_of_a_thousand_entries_keeps_their_order(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        assert await append_tokens(store, claimed, 1, *(str(n) for n in range(1000)))
        reading = await store.read("a", limit=2000)
        assert reading is not None
        assert [event.number for event in reading.events] == list(range(1, 1001))
        assert [json.loads(event.data) for event in reading.events] == [str(n) for n in range(1000)]


class LogReaders(StoreSuite):
    """A reader resumes at its cursor or gets a gap."""

    async def test_a_page_has_at_most_limit_events_including_the_end(self, store: Store) -> None:
        await finish(store, await start(store, *specs("a")), Succeeded("1"), *tokens("one", "two", "three"))
        events = await read_log(store, "a")
        for index in range(4):
            for limit in range(1, 6):
                reading = await store.read("a", after=after(events[index - 1]) if index else None, limit=limit)
                assert reading is not None
                assert list(reading.events) == events[index : index + limit], (index, limit)
                assert (reading.last, reading.ended) == (4, True)

    async def test_read_after_each_event_resumes_exactly_there(self, store: Store) -> None:
        first = await start(store, *specs("a"))
        await append_tokens(store, first, 1, "one", "two")
        await finish(store, first, Released())
        await finish(store, await claim_job(store, "a"), Succeeded("1"), *tokens("three"))
        events = await read_log(store, "a")
        for index, event in enumerate(events, 1):
            reading = await store.read("a", after=after(event))
            assert reading is not None
            assert (list(reading.events), reading.last, reading.gap) == (events[index:], 4, False)

    async def test_a_long_log_is_read_in_pages(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await append_tokens(store, claimed, 1, *"abcdefg")
        events: list[Event] = []
        cursor = None
        for _ in range(4):
            reading = await store.read("a", after=cursor, limit=2)
            assert reading is not None
            assert (len(reading.events) <= 2, reading.last, reading.gap) == (True, 7, False)
            events += reading.events
            cursor = after(events[-1])
        assert events == await read_log(store, "a")

    async def test_later_events_are_read_from_the_last_cursor(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await append_tokens(store, claimed, 1, "one")
        (event,) = await read_log(store, "a")
        await append_tokens(store, claimed, 2, "two")
        reading = await store.read("a", after=after(event))
        assert reading is not None
        assert [json.loads(each.data) for each in reading.events] == ["two"]

    async def test_an_unknown_epoch_is_a_gap_and_replays_from_the_start(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await append_tokens(store, claimed, 1, "one", "two")
        events = await read_log(store, "a")
        reading = await store.read("a", after=Cursor(events[0].epoch ^ 2, 1))
        assert reading is not None
        assert (list(reading.events), reading.gap) == (events, True)

    async def test_a_number_its_epoch_never_reached_is_a_gap(self, store: Store) -> None:
        first = await start(store, *specs("a"))
        await append_tokens(store, first, 1, "one", "two")
        await finish(store, first, Released())
        await append_tokens(store, await claim_job(store, "a"), 1, "three", "four")
        events = await read_log(store, "a")
        for number in 3, 4, 5, 99:
            reading = await store.read("a", after=Cursor(events[0].epoch, number))
            assert reading is not None
            assert (list(reading.events), reading.gap) == (events, True)

    async def test_a_cursor_into_an_empty_log_is_a_gap(self, store: Store) -> None:
        await submit(store, *specs("a"))
        reading = await store.read("a", after=Cursor(7, 1))
        assert reading is not None
        assert (reading.events, reading.last, reading.gap) == ((), 0, True)

    async def test_a_cursor_from_before_a_requeue_still_resumes(self, store: Store) -> None:
        await finish(store, await start(store, *specs("a")), Succeeded("1"), *tokens("one"))
        events = await read_log(store, "a")
        await store.requeue(["a"])
        await append_tokens(store, await claim_job(store, "a"), 1, "two")
        reading = await store.read("a", after=after(events[0]))
        assert reading is not None
        assert ([event.name for event in reading.events], reading.gap) == (["end", "token"], False)


class NewestEvents(StoreSuite):
    """A log is read backwards in pages, so that its length does not matter."""

    async def test_the_newest_events_come_oldest_first_and_include_the_end(self, store: Store) -> None:
        await finish(store, await start(store, *specs("a")), Succeeded("1"), *tokens("one", "two", "three"))
        events = await read_log(store, "a")
        for limit in range(1, 6):
            page = await store.read_last("a", limit=limit)
            assert page is not None
            assert list(page.events) == events[-limit:], limit
            assert (page.last, page.gap, page.ended) == (4, False, True)

    async def test_the_newest_events_before_a_number_are_those_below_it(self, store: Store) -> None:
        await finish(store, await start(store, *specs("a")), Succeeded("1"), *tokens(*"abcdefg"))
        events = await read_log(store, "a")
        for before in range(1, 11):
            for limit in (1, 3, 100):
                page = await store.read_last("a", before=before, limit=limit)
                assert page is not None
                assert list(page.events) == events[: before - 1][-limit:], (before, limit)

    async def test_the_newest_events_of_a_running_job_have_no_end(self, store: Store) -> None:
        await append_tokens(store, await start(store, *specs("a")), 1, "one", "two")
        page = await store.read_last("a")
        assert page is not None
        assert [json.loads(event.data) for event in page.events] == ["one", "two"]
        assert (page.last, page.ended) == (2, False)

    async def test_the_newest_events_include_the_end_that_a_requeue_has_undone(self, store: Store) -> None:
        await finish(store, await start(store, *specs("a")), Succeeded("1"), *tokens("one"))
        await store.requeue(["a"])
        await append_tokens(store, await claim_job(store, "a"), 1, "two")
        page = await store.read_last("a", limit=2)
        assert page is not None
        assert [event.name for event in page.events] == ["end", "token"]

    async def test_a_long_log_is_read_backwards_in_pages(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await append_tokens(store, claimed, 1, *(str(n) for n in range(1000)))
        texts: list[str] = []
        before: int | None = None
        while (page := await store.read_last("a", before=before, limit=130)) and page.events:
            texts = [json.loads(event.data) for event in page.events] + texts
            before = page.events[0].number
        assert texts == [str(n) for n in range(1000)]

    async def test_a_page_of_large_events_is_shorter_than_its_limit(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await append_tokens(store, claimed, 1, *(letter * 200_000 for letter in "abcdef"))
        page = await store.read_last("a")
        assert page is not None
        assert [json.loads(event.data)[0] for event in page.events] == ["e", "f"]

    async def test_an_unknown_job_has_no_newest_events_and_an_empty_log_an_empty_page(self, store: Store) -> None:
        assert await store.read_last("unknown") is None
        await submit(store, *specs("a"))
        page = await store.read_last("a")
        assert page is not None
        assert (page.events, page.last, page.ended) == ((), 0, False)


class AppendOrdinals(StoreSuite):
    """Ordinals of an attempt's entries prevent double writes (rules 3 and 17)."""

    async def test_an_append_seen_before_is_ignored(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        for _ in range(3):
            assert await append_tokens(store, claimed, 1, "one", "two")
        assert await event_texts(store, "a") == ["one", "two"]

    async def test_the_part_of_an_append_seen_before_is_ignored(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await append_tokens(store, claimed, 1, "one", "two")
        assert await append_tokens(store, claimed, 2, "two", "three")
        assert await event_texts(store, "a") == ["one", "two", "three"]

    async def test_a_repeat_in_the_same_call_is_ignored(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        once = EventAppend(lease=claimed.lease, ordinal=1, entries=tokens("one"))
        assert await store.append([once, once]) == [True, True]
        assert await event_texts(store, "a") == ["one"]

    async def test_the_last_entries_of_a_finish_seen_before_are_ignored(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await append_tokens(store, claimed, 1, "one", "two")
        await finish(store, claimed, Succeeded("1"), *tokens("two", "three"), ordinal=2)
        assert await event_texts(store, "a") == ["one", "two", "three", "end"]

    async def test_each_attempt_counts_its_ordinals_from_one(self, store: Store) -> None:
        first = await start(store, *specs("a"))
        await append_tokens(store, first, 1, "one", "two")
        await finish(store, first, Released())
        second = await claim_job(store, "a")
        await append_tokens(store, second, 1, "three")
        assert await event_texts(store, "a") == ["one", "two", "three"]

    async def test_an_empty_append_changes_nothing(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        assert await append_tokens(store, claimed, 3)
        assert await append_tokens(store, claimed, 1, "one", "two")
        assert await append_tokens(store, claimed, 9)
        assert await append_tokens(store, claimed, 3, "three")
        events = await read_log(store, "a")
        assert await event_texts(store, "a") == ["one", "two", "three"]
        assert len({event.epoch for event in events}) == 1

    async def test_every_reader_sees_a_gap_event_for_missing_entries(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await append_tokens(store, claimed, 1, "one")
        await append_tokens(store, claimed, 9, "nine")
        events = await read_log(store, "a")
        assert [(event.number, event.name) for event in events] == [(1, "token"), (2, "gap"), (3, "token")]
        assert events[1].data == '{"missing":7}'
        reading = await store.read("a", after=events[0].cursor)
        assert reading is not None
        assert ([event.name for event in reading.events], reading.gap) == (["gap", "token"], False)

    async def test_missing_entries_before_the_end_are_a_gap_event(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await append_tokens(store, claimed, 1, "one")
        await finish(store, claimed, Succeeded("1"), ordinal=4)
        events = await read_log(store, "a")
        assert [event.name for event in events] == ["token", "gap", "end"]
        assert events[1].epoch == events[2].epoch != events[0].epoch

    async def test_an_ordinal_that_leaves_a_gap_begins_a_new_epoch(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await append_tokens(store, claimed, 1, "one")
        assert await append_tokens(store, claimed, 5, "five")
        assert await append_tokens(store, claimed, 6, "six")
        assert await append_tokens(store, claimed, 5, "five", "six")
        events = await read_log(store, "a")
        assert await event_texts(store, "a") == ["one", "gap", "five", "six"]
        assert events[0].epoch != events[1].epoch
        assert {event.epoch for event in events[1:]} == {events[1].epoch}
        reading = await store.read("a", after=Cursor(events[0].epoch, 2))
        assert reading is not None
        assert reading.gap


class LogSize(StoreSuite):
    """A log has at most `max_log_size` bytes of names and data. What is beyond them is dropped behind a truncated event."""

    async def test_the_first_event_that_exceeds_the_size_is_replaced_by_a_truncated_event(self, store: Store) -> None:
        claimed = await start(store, replace(*specs("a"), max_log_size=20))
        assert await append_tokens(store, claimed, 1, "12345", "é", "x", "y")
        events = await read_log(store, "a")
        assert [(event.number, event.name, event.data) for event in events] == [
            (1, "token", '"12345"'),
            (2, "truncated", "{}"),
        ]

    async def test_a_log_of_exactly_its_maximum_size_is_complete(self, store: Store) -> None:
        claimed = await start(store, replace(*specs("a"), max_log_size=3 * len('token"x"')))
        await append_tokens(store, claimed, 1, "a", "b")
        await finish(store, claimed, Succeeded("1"), *tokens("c"), ordinal=3)
        assert await event_texts(store, "a") == ["a", "b", "c", "end"]

    async def test_sizes_are_those_of_utf_8(self, store: Store) -> None:
        for job_id, size, expected in ("a", 10, ["stage"]), ("b", 9, ["truncated"]):
            claimed = await start(store, replace(*specs(job_id), max_log_size=size))
            entries = (NewEvent("stage", '"\u4f60"'),)
            await store.append([EventAppend(lease=claimed.lease, ordinal=1, entries=entries)])
            assert await event_texts(store, job_id) == expected

    async def test_dropped_events_count_as_seen_and_leave_no_gap(self, store: Store) -> None:
        claimed = await start(store, replace(*specs("a"), max_log_size=0))
        assert await append_tokens(store, claimed, 1, "one", "two")
        assert (await record(store, "a")).ordinal == 2
        assert await append_tokens(store, claimed, 3, "three")
        assert await append_tokens(store, claimed, 2, "two", "three", "four")
        assert (await record(store, "a")).ordinal == 4
        assert await append_tokens(store, claimed, 9, "nine")
        assert await event_texts(store, "a") == ["truncated"]

    async def test_the_end_is_never_dropped_and_the_job_goes_on(self, store: Store) -> None:
        claimed = await start(store, replace(*specs("a"), max_log_size=0))
        assert await finish(store, claimed, Succeeded('"a long result"'), *tokens("one", "two"))
        assert await event_texts(store, "a") == ["truncated", "end"]
        assert (await record(store, "a")).result == '"a long result"'

    async def test_a_log_is_truncated_once_across_attempts_and_requeues(self, store: Store, clock: ManualClock) -> None:
        first = await start(store, replace(*specs("a"), max_log_size=8))
        await append_tokens(store, first, 1, "1", "2")
        await finish(store, first, Retried(failure()), *tokens("3"), ordinal=3)
        await append_tokens(store, await claim_job(store, "a", worker="dies"), 1, "4")
        await pass_time(store, clock, 3 * LEASE)
        await finish(store, await claim_job(store, "a"), Succeeded("1"), *tokens("5"))
        await store.requeue(["a"])
        await finish(store, await claim_job(store, "a"), Succeeded("2"), *tokens("6"))
        assert await event_texts(store, "a") == ["1", "truncated", "end", "end"]

    async def test_attempts_share_the_size_of_the_log(self, store: Store) -> None:
        first = await start(store, replace(*specs("a"), max_log_size=16))
        await finish(store, first, Retried(failure()), *tokens("1"))
        await finish(store, await claim_job(store, "a"), Released(), *tokens("2"))
        await append_tokens(store, await claim_job(store, "a"), 1, "3")
        assert await event_texts(store, "a") == ["1", "2", "truncated"]

    async def test_a_dispatched_job_keeps_the_size_of_its_log(self, store: Store) -> None:
        claimed = await start(store, replace(*specs("a"), max_log_size=8))
        assert await finish(store, claimed, Dispatched(60.0, JobSpec(id="send", task="send")), *tokens("1"))
        assert await append_tokens(store, claimed, 2, "2", "3")
        assert await event_texts(store, "a") == ["1", "truncated"]

    async def test_progress_is_that_of_the_log(self, store: Store) -> None:
        claimed = await start(store, replace(*specs("a"), max_log_size=25))
        entries = tuple(NewEvent("progress", f'{{"percent": {percent}}}') for percent in (10, 20))
        await store.append([EventAppend(lease=claimed.lease, ordinal=1, entries=entries)])
        assert (await record(store, "a")).progress == '{"percent": 10}'

    async def test_a_dropped_append_gives_no_hint(self, store: Store) -> None:
        claimed = await start(store, replace(*specs("a"), max_log_size=0))
        await append_tokens(store, claimed, 1, "one")
        async with store.watch(job_topic("a")) as hints:
            await append_tokens(store, claimed, 2, "two")
            assert not await hints.wait(0.2)

    async def test_the_size_is_stored_with_the_job(self, store: Store) -> None:
        for job_id, size in ("a", 5), ("b", MAX_LOG_SIZE), ("c", 2**62):
            spec = replace(*specs(job_id), max_log_size=size)
            await submit(store, spec)
            assert (await record(store, job_id)).spec == spec
