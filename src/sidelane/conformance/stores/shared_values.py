"""Versioned values: read, compare-and-set, list by name, change hints."""

import asyncio
import random

import pytest

from sidelane.conformance.stores.actions import HINT_TIMEOUT
from sidelane.conformance.stores.connections import ManyConnections
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.conformance.stores.notifications import hinted
from sidelane.model.errors import PayloadTooLarge
from sidelane.model.shared_state import MAX_NAME, MAX_VALUE, ValueChange, VersionedValue
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import MAX_PAGE_ITEMS, REQUEST_RETENTION, Store, value_topic

ODD_NAMES = (
    "\0", "a\0", "a\0b", " ", "a b", "a:b", "a:1", "1:a", "%", "a%", "_", "*", "a*", "[a]", "\\", '"', "'", "\n", "a/../b", "A",
    "é", "e\u0301", "ß", "日本", "\u202e", "\uffff", "\U0001f600", "\U0010ffff", "{x}", "x" * MAX_NAME,
)  # fmt: skip
"""Names that a store must not confuse with each other or with its own separators."""


async def value(store: Store, name: str) -> VersionedValue | None:
    (found,) = await store.read_values([name])
    return found


async def set_text(store: Store, name: str, text: str | None, replaces: str | None = None) -> str:
    """Make a change that must count, and return the new version."""
    change = ValueChange(name=name, text=text, replaces=replaces)
    assert await store.set_value(change)
    return change.version


async def set_texts(store: Store, *names: str, text: str = "1") -> None:
    for name in names:
        await set_text(store, name, text)


async def names_of(store: Store, prefix: str = "", *, after: str | None = None, limit: int = 200) -> list[str]:
    """Return the names of one page."""
    return [each.name for each in await store.list_values(prefix, after=after, limit=limit)]


async def all_names(store: Store, prefix: str = "", *, limit: int = 200) -> list[str]:
    """Return the names of all pages."""
    found: list[str] = []
    while page := await names_of(store, prefix, after=found[-1] if found else None, limit=limit):
        found += page
    return found


class SharedValues(StoreSuite):
    """Values of names."""

    async def test_a_value_is_read_as_it_was_set_with_its_version_and_the_time(
        self, store: Store, clock: ManualClock
    ) -> None:
        assert await value(store, "x") is None
        first = await set_text(store, "x", '{"paused": true}')
        at = clock()
        assert await value(store, "x") == VersionedValue(name="x", text='{"paused": true}', version=first, changed=at)
        clock.advance(5)
        second = await set_text(store, "x", "2", first)
        assert second != first
        assert await value(store, "x") == VersionedValue(name="x", text="2", version=second, changed=at + 5)

    async def test_many_values_are_read_in_the_order_of_their_names_in_the_call(self, store: Store) -> None:
        many = [f"v{number}" for number in range(450)]
        await set_texts(store, *many)
        found = await store.read_values([*reversed(many), "unknown", "v7", "v7"])
        assert [each and each.name for each in found] == [*reversed(many), None, "v7", "v7"]
        assert await store.read_values([]) == []

    async def test_a_change_that_replaces_another_version_does_not_count(self, store: Store) -> None:
        version = await set_text(store, "x", "1")
        before = await value(store, "x")
        assert not await store.set_value(ValueChange(name="x", text="2", replaces=None))
        for replaces in "other", f"{version}0", version.upper() + "~":
            for text in "2", None:
                assert not await store.set_value(ValueChange(name="x", text=text, replaces=replaces))
        for text in "2", None:
            assert not await store.set_value(ValueChange(name="unknown", text=text, replaces=version))
        assert await value(store, "x") == before
        assert await value(store, "unknown") is None

    async def test_a_deleted_value_is_gone_and_may_be_set_again_only_as_a_new_one(self, store: Store) -> None:
        first = await set_text(store, "x", "1")
        deletion = await set_text(store, "x", None, first)
        assert await value(store, "x") is None
        assert await names_of(store) == []
        for replaces in first, deletion:
            assert not await store.set_value(ValueChange(name="x", text="2", replaces=replaces))
        second = await set_text(store, "x", "1")
        assert second not in (first, deletion)
        assert not await store.set_value(ValueChange(name="x", text="2", replaces=first))

    async def test_a_repeated_change_counts_again_and_changes_nothing(self, store: Store, clock: ManualClock) -> None:
        create = ValueChange(name="x", text="1", replaces=None)
        update = ValueChange(name="x", text="2", replaces=create.version)
        delete = ValueChange(name="x", text=None, replaces=update.version)
        for change in create, update, delete:
            assert await store.set_value(change)
            after = await value(store, "x")
            clock.advance(1)
            assert await store.set_value(change)
            assert await value(store, "x") == after

    async def test_a_repeated_change_counts_even_if_others_have_changed_the_value_since(
        self, store: Store, clock: ManualClock
    ) -> None:
        first = ValueChange(name="x", text="1", replaces=None)
        assert await store.set_value(first)
        second = await set_text(store, "x", "2", first.version)
        clock.advance(REQUEST_RETENTION - 1)
        assert await store.set_value(first)
        third = await set_text(store, "x", None, second)
        assert await store.set_value(first)
        assert await value(store, "x") is None
        assert third != first.version

    async def test_a_change_that_did_not_count_may_count_when_it_is_repeated(self, store: Store) -> None:
        version = await set_text(store, "x", "1")
        change = ValueChange(name="x", text="2", replaces=None)
        assert not await store.set_value(change)
        await set_text(store, "x", None, version)
        assert await store.set_value(change)

    async def test_values_with_odd_names_and_texts_round_trip(self, store: Store) -> None:
        for number, name in enumerate(ODD_NAMES):
            await set_text(store, name, f'{number} \0 é \U0001f600 " \\ \n')
        found = await store.read_values(ODD_NAMES)
        assert [each and (each.name, each.text) for each in found] == [
            (name, f'{number} \0 é \U0001f600 " \\ \n') for number, name in enumerate(ODD_NAMES)
        ]
        assert await all_names(store) == sorted(ODD_NAMES)

    async def test_texts_may_be_empty_or_as_large_as_the_limit(self, store: Store) -> None:
        for name, text in ("empty", ""), ("ascii", "x" * MAX_VALUE), ("wide", "é" * (MAX_VALUE // 2)):
            await set_text(store, name, text)
            found = await value(store, name)
            assert found is not None
            assert found.text == text

    async def test_a_value_that_no_store_can_keep_is_refused_before_a_write(self, store: Store) -> None:
        for name in "", "\ud800", "a\udfff", "x" * (MAX_NAME + 1):
            with pytest.raises(ValueError, match="cannot name a value"):
                await set_text(store, name, "1")
            assert await value(store, name) is None
        with pytest.raises(ValueError, match="surrogates"):
            await set_text(store, "x", "\ud800")
        for version in "", "\ud800", "a b", "x" * 129:
            with pytest.raises(ValueError, match="cannot identify"):
                await set_text(store, "x", "1", version)
            with pytest.raises(ValueError, match="cannot identify"):
                await store.set_value(ValueChange(name="x", text="1", replaces=None, version=version))
        with pytest.raises(ValueError, match="name the version"):
            await set_text(store, "x", None)
        for text in "x" * (MAX_VALUE + 1), "é" * (MAX_VALUE // 2) + "x":
            with pytest.raises(PayloadTooLarge, match="65,537 bytes"):
                await set_text(store, "x", text)
        assert await names_of(store) == []


class SharedValueLists(StoreSuite):
    """Values listed by the beginning of their names."""

    async def test_values_are_listed_by_name_with_text_version_and_time(self, store: Store, clock: ManualClock) -> None:
        versions = {name: await set_text(store, name, f'"{name}"') for name in ("b", "a", "c")}
        assert await store.list_values() == [
            VersionedValue(name=name, text=f'"{name}"', version=versions[name], changed=clock()) for name in "abc"
        ]

    async def test_a_prefix_selects_exactly_the_names_that_begin_with_it(self, store: Store) -> None:
        await set_texts(store, *ODD_NAMES, "ab", "a", "b", "\ud7ff", "\ud7ff\uffff", "\ue000", "\U0010ffff\U0010ffffx")
        everything = await all_names(store)
        for prefix in (
            "",
            "a",
            "a\0",
            "a:",
            "%",
            "*",
            "é",
            "\ud7ff",
            "\uffff",
            "\U0010ffff",
            "\U0010ffff" * 2,
            "no",
            "\ud800",
        ):
            wanted = [name for name in everything if name.startswith(prefix)]
            assert await all_names(store, prefix) == wanted
            assert await all_names(store, prefix, limit=1) == wanted

    async def test_a_page_begins_after_a_name_which_need_not_exist(self, store: Store) -> None:
        await set_texts(store, "p:a", "p:b", "p:b\0", "p:c", "q")
        assert await names_of(store, "p:", limit=2) == ["p:a", "p:b"]
        assert await names_of(store, "p:", after="p:b", limit=2) == ["p:b\0", "p:c"]
        assert await names_of(store, "p:", after="p:aa") == ["p:b", "p:b\0", "p:c"]
        assert await names_of(store, "p:", after="a") == ["p:a", "p:b", "p:b\0", "p:c"]
        for after in "p:c", "q", "z", "\ud800":
            assert await names_of(store, "p:", after=after) == []

    async def test_a_page_has_at_most_200_values_and_none_without_a_limit(self, store: Store) -> None:
        many = [f"v{number:03}" for number in range(MAX_PAGE_ITEMS + 10)]
        await set_texts(store, *many)
        assert await names_of(store, limit=10**9) == many[:MAX_PAGE_ITEMS]
        assert await names_of(store, limit=0) == await names_of(store, limit=-1) == []
        assert await all_names(store) == many

    async def test_large_values_come_in_small_pages(self, store: Store) -> None:
        many = [f"v{number:02}" for number in range(40)]
        await set_texts(store, *many, text="x" * MAX_VALUE)
        assert 1 <= len(await names_of(store)) <= 16
        assert await all_names(store) == many
        assert [each and each.name for each in await store.read_values(many)] == many

    async def test_values_that_are_deleted_between_two_pages_do_not_disturb_them(self, store: Store) -> None:
        versions = {name: await set_text(store, name, "1") for name in "abcdef"}
        assert await names_of(store, limit=2) == ["a", "b"]
        for name in "bd":
            await set_text(store, name, None, versions[name])
        assert await names_of(store, after="b", limit=2) == ["c", "e"]


class SharedValueHints(StoreSuite):
    """Hints of changes."""

    async def test_every_change_of_a_value_gives_a_hint(self, store: Store) -> None:
        for name in "x", "a\0b", "é \n:\U0001f600":
            version: str | None = None
            for text in "1", "2", None:
                change = ValueChange(name=name, text=text, replaces=version)
                assert await hinted(store, value_topic(name), lambda change=change: store.set_value(change))  # type: ignore[misc]
                version = change.version

    async def test_a_change_that_does_not_count_or_of_another_value_gives_none(self, store: Store) -> None:
        await set_texts(store, "x")
        async with store.watch(value_topic("x")) as wakeups:
            assert not await store.set_value(ValueChange(name="x", text="2", replaces=None))
            await set_texts(store, "y", "x:y", "X")
            assert not await wakeups.wait(0.05)


class SharedValueConnections(ManyConnections):
    """Values that several connections change."""

    async def test_a_value_is_seen_by_other_connections_which_are_woken(self, store: Store, other: Store) -> None:
        for name in "x", "a\0b":
            version = None
            for text in "1", "2", None, "3":
                async with other.watch(value_topic(name)) as wakeups:
                    version = await set_text(store, name, text, version)
                    assert await wakeups.wait(HINT_TIMEOUT)
                found = await value(other, name)
                assert (found and found.text) == text
                version = version if text is not None else None

    async def test_a_value_outlives_every_connection(self, store: Store, other: Store) -> None:
        version = await set_text(other, "x", "1")
        await other.close()
        found = await value(store, "x")
        assert found is not None
        assert found.version == version

    async def test_random_changes_behave_like_a_dictionary(self, store: Store, other: Store) -> None:
        dice = random.Random(15)
        expected: dict[str, ValueChange] = {}
        made: list[ValueChange] = []
        for number in range(400):
            name = dice.choice(["a", "b", "a:b", "a:c"])
            current = expected[name].version if name in expected else None
            stale = dice.choice(made).version if made else None
            replaces = dice.choice([current, current, current, stale, None])
            text = None if replaces is not None and dice.random() < 0.3 else str(number)
            change = ValueChange(name=name, text=text, replaces=replaces)
            counts = replaces == current
            assert await dice.choice([store, other]).set_value(change) == counts
            if counts:
                made.append(change)
                expected[name] = change
                if text is None:
                    del expected[name]
            if made and dice.random() < 0.3:
                assert await dice.choice([store, other]).set_value(dice.choice(made))
            found = {each.name: (each.text, each.version) for each in await dice.choice([store, other]).list_values()}
            assert found == {name: (each.text, each.version) for name, each in expected.items()}

    async def test_of_concurrent_changes_of_one_version_exactly_one_counts(self, five: list[Store]) -> None:
        version: str | None = None
        for generation in range(20):
            changes = [
                ValueChange(
                    name="x", text=f"{generation}.{number}" if number % 5 or not version else None, replaces=version
                )
                for number in range(20)
            ]
            counted = await asyncio.gather(
                *(five[number % 5].set_value(change) for number, change in enumerate(changes))
            )
            assert sum(counted) == 1
            won = changes[counted.index(True)]
            found = await value(five[generation % 5], "x")
            assert (found and found.text) == won.text
            version = found.version if found else None
            assert version == (won.version if won.text is not None else None)

    async def test_a_change_repeated_concurrently_is_one_change(self, five: list[Store]) -> None:
        create = ValueChange(name="x", text="1", replaces=None)
        assert await asyncio.gather(*(five[number % 5].set_value(create) for number in range(20))) == [True] * 20
        update = ValueChange(name="x", text="2", replaces=create.version)
        changes = [update, create] * 10
        assert all(await asyncio.gather(*(five[n % 5].set_value(each) for n, each in enumerate(changes))))
        found = await value(five[0], "x")
        assert found is not None
        assert (found.text, found.version) == ("2", update.version)

    async def test_concurrent_increments_of_one_value_lose_none(self, five: list[Store]) -> None:
        async def increment(number: int) -> None:
            store = five[number % 5]
            for _ in range(5):
                counted = False
                while not counted:
                    found = await value(store, "x")
                    text = str(int(found.text) + 1) if found else "1"
                    change = ValueChange(name="x", text=text, replaces=found.version if found else None)
                    counted = await store.set_value(change)

        await asyncio.gather(*map(increment, range(10)))
        found = await value(five[0], "x")
        assert found is not None
        assert found.text == "50"
