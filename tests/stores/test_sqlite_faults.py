"""Errors of the file: a clear message that names it, and nothing acknowledged is lost."""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from sidelane.model.errors import ConfigurationError, StoreMisconfigured, StoreUnavailable
from sidelane.model.job import JobRecord, JobSpec, State
from sidelane.model.outcome import AttemptResult, Succeeded
from sidelane.model.worker import ClaimRequest
from sidelane.stores.sqlite.connection import APPLICATION_ID, SCHEMA, check_version
from sidelane.stores.sqlite.sql import Transaction
from sidelane.stores.sqlite.store import SqliteStore
from sidelane.stores.sqlite.verbs.submit import submit

NOBODY = 65534  # user id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


async def open_store(path: Path) -> SqliteStore:
    return await SqliteStore.open(str(path), time.time)


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = await open_store(path)
    yield store
    await store.close()


def specs(first: int, count: int, size: int = 0) -> list[JobSpec]:
    return [JobSpec(id=f"j{n}", task="t", arguments='"' + "x" * size + '"') for n in range(first, first + count)]


def contents(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, contents: bytes) -> None:
    path.write_bytes(contents)


def overwrite_last(path: Path, share: float) -> None:
    """Overwrite the last part of a database, but not its first page, which identifies it as a database."""
    pages = path.stat().st_size // 4096
    first = pages - int(share * (pages - 1))
    with path.open("r+b") as file:
        file.seek(4096 * first)
        file.write(b"\xff" * 4096 * (pages - first))


def connection_of(store: SqliteStore) -> apsw.Connection:
    return store._writer._connection


def pragma(path: Path, name: str, value: Any) -> None:
    connection = apsw.Connection(str(path))
    connection.pragma(name, value)
    connection.close()


async def states(store: SqliteStore, ids: list[str]) -> set[State]:
    return {job.state for job in await store.get(ids) if isinstance(job, JobRecord)}


@contextmanager
def protected_folder() -> Iterator[Path]:
    """Yield a folder; `drop_permissions` makes it read-only, also for root, who becomes another user until the end."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def drop_permissions(folder: Path, *, file: int, inside: int) -> None:
    (folder / "jobs.db").chmod(file)
    folder.chmod(inside)
    if os.getuid() == 0:
        os.seteuid(NOBODY)


# Files of others.


async def test_a_newer_schema_is_refused(path: Path) -> None:
    await (await open_store(path)).close()
    pragma(path, "user_version", SCHEMA + 1)
    with pytest.raises(StoreMisconfigured, match=rf"jobs\.db was written by a newer Sidelane \(schema {SCHEMA + 1}; "):
        await open_store(path)


@pytest.mark.parametrize("schema", [1, SCHEMA - 1])
async def test_an_older_schema_is_refused(path: Path, schema: int) -> None:
    await (await open_store(path)).close()
    pragma(path, "user_version", schema)
    with pytest.raises(
        StoreMisconfigured, match=r"jobs\.db was written by a Sidelane before the first release .*new file"
    ):
        await open_store(path)


async def test_the_database_of_another_program_is_refused(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = contents(path)
    with pytest.raises(StoreMisconfigured, match=r"jobs\.db belongs to another program: point SIDELANE_STORE"):
        await open_store(path)
    assert contents(path) == before


async def test_a_file_that_is_not_a_database_is_refused(path: Path) -> None:
    write(path, b"Dear diary, " * 1000)
    with pytest.raises(StoreMisconfigured, match=r"jobs\.db is not an SQLite database: point SIDELANE_STORE"):
        await open_store(path)
    assert contents(path).startswith(b"Dear diary")


async def test_an_empty_file_becomes_a_store(path: Path) -> None:
    write(path, b"")
    store = await open_store(path)
    assert connection_of(store).pragma("application_id") == APPLICATION_ID
    await store.close()


async def test_a_missing_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(StoreMisconfigured, match=r"none/jobs\.db does not exist: create it, or change SIDELANE_STORE"):
        await open_store(tmp_path / "none" / "jobs.db")


async def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreMisconfigured, match="cannot be opened"):
        await open_store(tmp_path)


@pytest.mark.parametrize("found", ["3.40.1", "3.51.2"])
def test_a_version_of_sqlite_with_the_corruption_bug_is_refused(found: str) -> None:
    with pytest.raises(ConfigurationError, match="too old"):
        check_version(found)


@pytest.mark.parametrize("found", ["3.51.3", "3.54.1", "4.0.0"])
def test_a_version_of_sqlite_without_the_bug_is_accepted(found: str) -> None:
    check_version(found)


# Permissions.


async def test_a_read_only_file_is_refused() -> None:
    with protected_folder() as folder:
        await (await open_store(folder / "jobs.db")).close()
        drop_permissions(folder, file=0o444, inside=0o755)
        with pytest.raises(StoreMisconfigured, match=r"jobs\.db is read-only: let this user write"):
            await open_store(folder / "jobs.db")


async def test_a_read_only_folder_is_refused() -> None:
    with protected_folder() as folder:
        await (await open_store(folder / "jobs.db")).close()
        drop_permissions(folder, file=0o666, inside=0o555)
        with pytest.raises(StoreMisconfigured, match=r"jobs\.db (is read-only|cannot be opened)"):
            await open_store(folder / "jobs.db")


# A full disk.


@contextmanager
def full_disk(store: SqliteStore, spare: int = 0) -> Iterator[None]:
    """Let the database grow by at most `spare` pages."""
    connection = connection_of(store)
    most = connection.pragma("max_page_count")
    connection.pragma("max_page_count", int(connection.pragma("page_count")) + spare)
    try:
        yield
    finally:
        connection.pragma("max_page_count", most)


async def test_a_full_disk_is_reported_and_nothing_acknowledged_is_lost(store: SqliteStore) -> None:
    acknowledged: list[str] = []

    async def fill() -> None:
        for first in range(0, 10_000, 10):
            await store.submit(specs(first, 10, size=1000))
            acknowledged.extend(f"j{n}" for n in range(first, first + 10))

    with full_disk(store, spare=50):
        with pytest.raises(StoreUnavailable, match=r"The disk that holds .*jobs\.db is full: free some space"):
            await fill()
        assert acknowledged
        assert await states(store, acknowledged) == {State.QUEUED}
    count = len(acknowledged)
    assert await store.get([f"j{n}" for n in range(count, count + 10)]) == [None] * 10
    assert len(await store.submit(specs(count, 10, size=1000))) == 10


async def test_a_call_too_large_for_a_full_disk_does_not_fail_a_smaller_one(store: SqliteStore) -> None:
    await store.submit(specs(0, 1))
    (claimed,) = (await store.claim(ClaimRequest(request="r", worker="w", queues={"default": 1}))).jobs
    with full_disk(store, spare=3):
        answers = await asyncio.gather(
            store.submit(specs(1, 100, size=8000)),
            store.finish([AttemptResult(lease=claimed.lease, outcome=Succeeded("1"))]),
            return_exceptions=True,
        )
    assert isinstance(answers[0], StoreUnavailable)
    assert answers[1] == [True]
    assert await states(store, ["j0"]) == {State.SUCCEEDED}


# Damage.


MANY = 2000


async def create_damaged(path: Path, share: float) -> None:
    """Create a store and damage its file."""
    store = await open_store(path)
    await store.submit(specs(0, MANY))  # so many that the schema is in the first pages
    await store.close()
    overwrite_last(path, share)


async def test_a_file_whose_tables_are_damaged_is_refused(path: Path) -> None:
    await create_damaged(path, 1.0)
    with pytest.raises(StoreMisconfigured, match=r"jobs\.db is damaged"):
        await open_store(path)


async def test_damage_that_is_found_later_is_reported_then(path: Path) -> None:
    await create_damaged(path, 0.4)
    store = await open_store(path)
    with pytest.raises(StoreMisconfigured, match=r"jobs\.db is damaged"):
        await store.get([f"j{n}" for n in range(MANY)])
    with pytest.raises(StoreMisconfigured, match=r"jobs\.db is damaged"):
        await store.cancel([f"j{n}" for n in range(MANY)])
    await store.close()


# Locks.


async def test_a_lock_held_too_long_is_reported_and_the_same_call_works_later(path: Path, store: SqliteStore) -> None:
    store._writer._database.busy_timeout = 0.2
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match=r"jobs\.db has been locked by another process for too long"):
        await store.submit(specs(0, 1))
    assert await store.get(["j0"]) == [None]  # readers need no lock
    other.execute("ROLLBACK")
    other.close()
    assert len(await store.submit(specs(0, 1))) == 1


async def test_a_call_waits_for_a_lock_that_is_held_briefly(path: Path, store: SqliteStore) -> None:
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(store.submit(specs(0, 1)))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    other.execute("COMMIT")
    other.close()
    assert len(await waiting) == 1


# Use.


async def test_calls_of_a_closed_store_raise(path: Path) -> None:
    store = await open_store(path)
    await store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.submit(specs(0, 1))
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.get(["j0"])
    await store.close()


async def test_closing_the_store_waits_for_queued_calls(path: Path) -> None:
    store = await open_store(path)
    submitting = asyncio.create_task(store.submit(specs(0, 150)))
    await asyncio.sleep(0)
    await store.close()
    assert len(await submitting) == 150


async def test_an_error_in_one_call_of_a_group_does_not_fail_the_others(store: SqliteStore) -> None:
    broken = store.get_or_set("name", object())  # type: ignore[arg-type]
    answers = await asyncio.gather(store.submit(specs(0, 1)), broken, store.submit(specs(1, 1)), return_exceptions=True)
    assert isinstance(answers[1], TypeError)
    assert await states(store, ["j0", "j1"]) == {State.QUEUED}


async def test_a_call_that_fails_half_way_is_rolled_back(store: SqliteStore) -> None:
    def half(tx: Transaction) -> None:
        submit(tx, specs(1, 1))
        raise ValueError("half-way")

    answers = await asyncio.gather(
        store.submit(specs(0, 1)), store._writer.call(half), store.submit(specs(2, 1)), return_exceptions=True
    )
    assert isinstance(answers[1], ValueError)
    assert await states(store, ["j0", "j2"]) == {State.QUEUED}
    assert await store.get(["j1"]) == [None]
