"""Texts of attempts: what each has yielded, from the newest events of a log."""

import json
from collections.abc import AsyncIterator, Sequence

import pytest

from sidelane.admin.attempt_texts import MAX_CHARACTERS, first_difference, read_texts
from sidelane.conformance.stores.actions import claim_job, failure, finish, record, specs, submit
from sidelane.model.event import NewEvent
from sidelane.model.outcome import EventAppend, Lost, Retried
from sidelane.model.worker import Claimed
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store
from sidelane.stores.sqlite.store import SqliteStore


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(clock: ManualClock) -> AsyncIterator[Store]:
    opened = await SqliteStore.open(":memory:", clock)
    await submit(opened, *specs("a"))
    yield opened
    await opened.close()


async def append(store: Store, claimed: Claimed, ordinal: int, *events: NewEvent) -> None:
    assert await store.append([EventAppend(lease=claimed.lease, ordinal=ordinal, entries=events)]) == [True]


def tokens(texts: Sequence[str]) -> list[NewEvent]:
    return [NewEvent("token", json.dumps({"text": text})) for text in texts]


async def test_each_attempt_has_its_text_and_its_rate(store: Store, clock: ManualClock) -> None:
    first = await claim_job(store, "a")
    for ordinal, text in enumerate(["one ", "two ", "three "], 1):
        await append(store, first, ordinal, *tokens([text]))
        clock.advance(0.5)
    await finish(store, first, Lost(failure()))
    second = await claim_job(store, "a")
    await append(store, second, 1, NewEvent("attempt", '{"attempt":2}'), *tokens(["one ", "or "]))
    found = await read_texts(store, await record(store, "a"))
    assert [(text.number, text.text, text.tokens) for text in found.attempts] == [
        (2, "one or ", 2),
        (1, "one two three ", 3),
    ]
    assert [text.rate for text in found.attempts] == [None, pytest.approx(2.0)]
    assert found.cursor
    assert found.cursor.number == 6


async def test_attempt_that_has_just_begun_is_shown_without_text(store: Store) -> None:
    first = await claim_job(store, "a")
    await append(store, first, 1, *tokens(["one"]))
    await finish(store, first, Retried(failure()))
    second = await claim_job(store, "a")
    await append(store, second, 1, NewEvent("attempt", '{"attempt":2}'))
    assert [text.text for text in (await read_texts(store, await record(store, "a"))).attempts] == ["", "one"]


async def test_first_attempt_that_spoke_is_named_by_its_time(store: Store, clock: ManualClock) -> None:
    await finish(store, await claim_job(store, "a"), Retried(failure()))
    clock.advance(5)
    await append(store, await claim_job(store, "a"), 1, *tokens(["one"]))
    assert [text.number for text in (await read_texts(store, await record(store, "a"))).attempts] == [2]


async def test_long_text_is_cut_at_its_begin(store: Store) -> None:
    claimed = await claim_job(store, "a")
    await append(store, claimed, 1, *tokens(["b", "x" * MAX_CHARACTERS]))
    (text,) = (await read_texts(store, await record(store, "a"))).attempts
    assert (text.cut, text.text) == (True, "x" * MAX_CHARACTERS)


async def test_job_without_text_has_none(store: Store) -> None:
    found = await read_texts(store, await record(store, "a"))
    assert (found.attempts, found.cursor) == ([], None)


@pytest.mark.parametrize(
    ("one", "other", "word"),
    [
        ("a b c", "a b c", None),
        ("a b", "a b c", None),
        ("a memory", "a mem", None),
        ("a x c", "a y c", 2),
        ("", "a", None),
    ],
)
def test_texts_differ_from_the_first_word_that_is_another(one: str, other: str, word: int | None) -> None:
    assert first_difference(one, other) == word
