"""Event buffer: numbered without gaps, whatever is written when."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from sidelane.model.event import NewEvent
from sidelane.model.job import Lease
from sidelane.worker.event_buffer import (
    MAX_BYTES_BUFFERED,
    MAX_BYTES_PER_APPEND,
    MAX_BYTES_PER_RESULT,
    MAX_EVENTS_PER_APPEND,
    EventBuffer,
)

LEASE = Lease("job", 1, "nonce")


@given(st.lists(st.one_of(st.integers(0, 300), st.just("take"), st.just("written")), max_size=40))
def test_ordinals_have_no_gaps_and_no_event_is_lost_or_repeated(steps: list[int | str]) -> None:
    emission, put = EventBuffer(LEASE, lambda emission: None), 0
    got: list[str] = []
    in_flight = None
    for step in steps:
        if step == "take" and in_flight is None:
            in_flight = emission.next_append()
        elif step == "written" and in_flight is not None:
            assert in_flight.ordinal == len(got) + 1
            assert len(in_flight.entries) <= MAX_EVENTS_PER_APPEND
            got += [entry.data for entry in in_flight.entries]
            emission.on_written(accepted=True)
            in_flight = None
        elif isinstance(step, int):
            for _ in range(step):
                emission.add(NewEvent("n", str(put)))
                put += 1
    if in_flight is not None:
        got += [entry.data for entry in in_flight.entries]
        emission.on_written(accepted=True)
    while append := emission.next_append():
        got += [entry.data for entry in append.entries]
        emission.on_written(accepted=True)
    assert got == [str(number) for number in range(put)]


async def test_drain_includes_events_that_are_being_written() -> None:
    emission = EventBuffer(LEASE, lambda emission: None)
    emission.add(NewEvent("a", "1"))
    assert emission.next_append() is not None
    emission.add(NewEvent("b", "2"))
    assert await emission.drain() == (1, (NewEvent("a", "1"), NewEvent("b", "2")))
    emission.on_written(accepted=True)


async def test_buffer_is_full_of_few_large_events_until_they_are_written() -> None:
    emission = EventBuffer(LEASE, lambda emission: None)
    while not emission.is_full:
        emission.add(NewEvent("big", "x" * 100_000))
    assert emission._bytes <= MAX_BYTES_BUFFERED + 100_000
    space = asyncio.create_task(emission.wait_for_space())
    await asyncio.sleep(0)
    assert not space.done()
    while emission.next_append() is not None:
        emission.on_written(accepted=True)
    await space
    assert emission._bytes == 0


async def test_drain_waits_while_the_events_are_too_large_for_one_result() -> None:
    emission = EventBuffer(LEASE, lambda emission: None)
    for _ in range(3):
        emission.add(NewEvent("big", "x" * (MAX_BYTES_PER_RESULT // 2)))
    assert emission.next_append() is not None
    rest = asyncio.create_task(emission.drain())
    await asyncio.sleep(0)
    assert not rest.done()
    emission.on_written(accepted=True)
    ordinal, entries = await rest
    assert (ordinal, len(entries)) == (2, 2)


async def test_lost_lease_ends_the_wait_of_drain() -> None:
    emission = EventBuffer(LEASE, lambda emission: None)
    for _ in range(3):
        emission.add(NewEvent("big", "x" * (MAX_BYTES_PER_RESULT // 2)))
    emission.next_append()
    rest = asyncio.create_task(emission.drain())
    await asyncio.sleep(0)
    emission.on_written(accepted=False)
    assert (await rest)[1] == ()


def test_large_events_are_split_into_appends_of_bounded_size() -> None:
    emission = EventBuffer(LEASE, lambda emission: None)
    for _ in range(4):
        emission.add(NewEvent("big", "x" * (MAX_BYTES_PER_APPEND // 2)))
    append = emission.next_append()
    assert append is not None
    assert len(append.entries) == 2
