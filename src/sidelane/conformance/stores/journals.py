"""Journals: entries in the order of their appends, of which the newest are kept."""

import asyncio
import random

import pytest

from sidelane.conformance.stores.connections import ManyConnections
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.conformance.stores.shared_values import ODD_NAMES
from sidelane.model.errors import PayloadTooLarge
from sidelane.model.shared_state import MAX_CAP, MAX_ENTRIES, MAX_ENTRY, MAX_NAME, JournalAppend, JournalEntry
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import MAX_PAGE_ITEMS, REQUEST_RETENTION, Store


async def append(store: Store, *texts: str, journal: str = "audit", cap: int = 1000) -> list[int]:
    return await store.append_entries(JournalAppend(journal=journal, texts=texts, cap=cap))


async def append_many(store: Store, count: int, *, cap: int = 1000) -> None:
    """Append entries with their numbers as texts to an empty journal."""
    texts = [str(number) for number in range(1, count + 1)]
    for first in range(0, count, MAX_ENTRIES):
        await append(store, *texts[first : first + MAX_ENTRIES], cap=cap)


async def page(
    store: Store, *, journal: str = "audit", before: int | None = None, limit: int = 200
) -> list[tuple[int, str]]:
    """Return the numbers and texts of one page."""
    found = await store.read_journal(journal, before=before, limit=limit)
    return [(entry.number, entry.text) for entry in found]


async def entries(store: Store, *, journal: str = "audit", limit: int = 200) -> list[tuple[int, str]]:
    """Return the numbers and texts of all pages."""
    found: list[tuple[int, str]] = []
    while part := await page(store, journal=journal, before=found[-1][0] if found else None, limit=limit):
        found += part
    return found


def numbered(newest: int, oldest: int = 1) -> list[tuple[int, str]]:
    """Return the entries that `append_many` makes, newest first."""
    return [(number, str(number)) for number in range(newest, oldest - 1, -1)]


class Journals(StoreSuite):
    """Appending and reading."""

    async def test_entries_are_read_newest_first_with_numbers_and_times(self, store: Store, clock: ManualClock) -> None:
        at = clock()
        assert await append(store, "one", "two") == [1, 2]
        clock.advance(5)
        assert await append(store, "three") == [3]
        assert await store.read_journal("audit") == [
            JournalEntry(3, at + 5, "three"), JournalEntry(2, at, "two"), JournalEntry(1, at, "one"),
        ]  # fmt: skip

    async def test_an_unknown_journal_has_no_entries(self, store: Store) -> None:
        await append(store, "one")
        for name in "unknown", "audit:", "Audit", "", "\ud800", "x" * (MAX_NAME + 1):
            assert await store.read_journal(name) == []

    async def test_journals_have_their_own_numbers_and_caps(self, store: Store) -> None:
        for number, name in enumerate(ODD_NAMES, 1):
            assert await append(store, *map(str, range(number)), journal=name, cap=2) == list(range(1, number + 1))
        for number, name in enumerate(ODD_NAMES, 1):
            kept = [(each, str(each - 1)) for each in range(number, max(0, number - 2), -1)]
            assert await entries(store, journal=name) == kept

    async def test_entries_with_odd_texts_round_trip(self, store: Store) -> None:
        texts = [
            "",
            "\0",
            "a\nb\n",
            "é \U0001f600",
            "1 2\n3",
            '{"a": "\\ud800"}',
            "x" * MAX_ENTRY,
            "é" * (MAX_ENTRY // 2),
        ]
        await append(store, *texts)
        assert await entries(store) == list(zip(range(len(texts), 0, -1), reversed(texts), strict=True))

    async def test_pages_by_number_contain_every_entry_once(self, store: Store) -> None:
        await append_many(store, 150)
        for limit in 1, 7, 49, 50, 51, 149, 150, 151:
            assert await entries(store, limit=limit) == numbered(150)
        assert await page(store, before=100, limit=3) == numbered(99, 97)

    async def test_entries_that_are_appended_between_two_pages_do_not_disturb_them(self, store: Store) -> None:
        await append_many(store, 10)
        assert await page(store, limit=4) == numbered(10, 7)
        await append(store, "more")
        assert await page(store, before=7, limit=4) == numbered(6, 3)

    async def test_a_page_may_begin_beyond_the_newest_or_end_before_the_oldest(self, store: Store) -> None:
        await append_many(store, 10, cap=5)
        for before in 11, 12, 2**53, 2**70:
            assert await page(store, before=before) == numbered(10, 6)
        assert await page(store, before=7) == numbered(6, 6)
        for before in 6, 5, 1, 0, -1, -(2**70):
            assert await page(store, before=before) == []

    async def test_a_page_has_at_most_200_entries_and_none_without_a_limit(self, store: Store) -> None:
        await append_many(store, MAX_PAGE_ITEMS + 50)
        newest = MAX_PAGE_ITEMS + 50
        assert await page(store, limit=10**9) == numbered(newest, 51)
        assert await page(store, limit=0) == await page(store, limit=-1) == []
        assert await entries(store) == numbered(newest)

    async def test_large_entries_come_in_small_pages(self, store: Store) -> None:
        assert await append(store, *["x" * MAX_ENTRY] * MAX_ENTRIES) == list(range(1, MAX_ENTRIES + 1))
        assert 1 <= len(await page(store)) <= 32
        assert [number for number, _ in await entries(store)] == list(range(MAX_ENTRIES, 0, -1))

    async def test_a_repeated_append_returns_the_same_numbers_and_appends_nothing(
        self, store: Store, clock: ManualClock
    ) -> None:
        first = JournalAppend(journal="audit", texts=["one", "two"], cap=10)
        assert await store.append_entries(first) == [1, 2]
        assert await store.append_entries(first) == [1, 2]
        await append(store, "three")
        clock.advance(REQUEST_RETENTION - 1)
        assert await store.append_entries(first) == [1, 2]
        assert await entries(store) == [(3, "three"), (2, "two"), (1, "one")]

    async def test_a_repeated_append_is_known_even_if_its_entries_are_gone(self, store: Store) -> None:
        first = JournalAppend(journal="audit", texts=["one"], cap=1)
        await store.append_entries(first)
        await append(store, "two", cap=1)
        assert await store.append_entries(first) == [1]
        assert await entries(store) == [(2, "two")]

    async def test_an_append_without_entries_changes_nothing(self, store: Store) -> None:
        assert await append(store) == []
        assert await append(store, "one") == [1]
        assert await append(store, cap=1) == []
        assert await entries(store) == [(1, "one")]

    async def test_an_entry_that_no_store_can_keep_is_refused_before_a_write(self, store: Store) -> None:
        for name in "", "\ud800", "x" * (MAX_NAME + 1):
            with pytest.raises(ValueError, match="cannot name a journal"):
                await append(store, "one", journal=name)
        for cap in 0, -1, MAX_CAP + 1, True, 1.5:
            with pytest.raises(ValueError, match="the cap"):
                await append(store, "one", cap=cap)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="cannot identify"):
            await store.append_entries(JournalAppend(journal="audit", texts=["one"], cap=1, request=""))
        with pytest.raises(ValueError, match="surrogates"):
            await append(store, "one", "\ud800")
        with pytest.raises(ValueError, match="at most 64"):
            await append(store, *["one"] * (MAX_ENTRIES + 1))
        for text in "x" * (MAX_ENTRY + 1), "é" * (MAX_ENTRY // 2) + "x":
            with pytest.raises(PayloadTooLarge, match="16,385 bytes"):
                await append(store, "one", text)
        assert await entries(store) == []


class JournalCaps(StoreSuite):
    """The maximum number of entries."""

    async def test_each_append_removes_the_oldest_entries_beyond_its_cap(self, store: Store) -> None:
        for number in range(1, 21):
            await append(store, str(number), cap=5)
            assert await entries(store) == numbered(number, max(1, number - 4))

    async def test_an_append_of_more_entries_than_the_cap_keeps_its_newest(self, store: Store) -> None:
        assert await append(store, *map(str, range(1, 11)), cap=3) == list(range(1, 11))
        assert await entries(store) == numbered(10, 8)

    async def test_a_lower_cap_applies_at_once_to_any_number_of_entries(self, store: Store) -> None:
        await append_many(store, 600)
        await append(store, "601", cap=2)
        assert await entries(store) == numbered(601, 600)
        for number in range(602, 608):
            await append(store, str(number), cap=2)
            assert await entries(store) == numbered(number, number - 1)

    async def test_a_higher_cap_brings_no_entry_back(self, store: Store) -> None:
        await append_many(store, 600)
        await append(store, "601", cap=2)
        await append(store, "602", cap=1000)
        assert await entries(store) == numbered(602, 600)
        await append(store, "603", cap=1000)
        assert await entries(store) == numbered(603, 600)


class JournalConnections(ManyConnections):
    """Journals that several connections append to."""

    async def test_concurrent_appends_have_distinct_numbers_and_keep_the_cap(self, five: list[Store]) -> None:
        async def work(worker: int) -> list[tuple[int, str]]:
            made: list[tuple[int, str]] = []
            for call in range(10):
                texts = [f"{worker}.{call}.{index}" for index in range(1 + call % 3)]
                made += zip(await append(five[worker % 5], *texts, cap=20), texts, strict=True)
                assert 0 < len(await entries(five[worker % 5], limit=20)) <= 20
            return made

        made = [each for some in await asyncio.gather(*map(work, range(10))) for each in some]
        assert sorted(number for number, _ in made) == list(range(1, len(made) + 1))
        assert await entries(five[0]) == sorted(made, reverse=True)[:20]

    async def test_random_appends_behave_like_a_list(self, store: Store, other: Store) -> None:
        dice = random.Random(15)
        expected: list[tuple[int, str]] = []
        made: list[tuple[JournalAppend, list[int]]] = []
        newest = 0
        for _ in range(150):
            texts = [str(dice.random()) for _ in range(dice.choice([1, 1, 2, 5, MAX_ENTRIES]))]
            request = JournalAppend(journal="audit", texts=texts, cap=dice.choice([1, 3, 100, 1000, 1000, 1000]))
            numbers = list(range(newest + 1, newest + 1 + len(texts)))
            assert await dice.choice([store, other]).append_entries(request) == numbers
            made.append((request, numbers))
            newest = numbers[-1]
            expected = [*expected, *zip(numbers, texts, strict=True)][-request.cap :]
            if dice.random() < 0.3:
                repeated, answer = dice.choice(made)
                assert await dice.choice([store, other]).append_entries(repeated) == answer
            before = dice.randint(1, newest + 2)
            wanted = [entry for entry in reversed(expected) if entry[0] < before]
            assert await page(dice.choice([store, other]), before=before, limit=7) == wanted[:7]
        assert await entries(other) == expected[::-1]

    async def test_an_append_repeated_concurrently_is_one_append(self, five: list[Store]) -> None:
        request = JournalAppend(journal="audit", texts=["one", "two"], cap=10)
        answers = await asyncio.gather(*(five[number % 5].append_entries(request) for number in range(20)))
        assert answers == [[1, 2]] * 20
        assert await entries(five[0]) == [(2, "two"), (1, "one")]

    async def test_entries_outlive_every_connection(self, store: Store, other: Store) -> None:
        await append(other, "one")
        await other.close()
        assert await append(store, "two") == [2]
        assert await entries(store) == [(2, "two"), (1, "one")]
