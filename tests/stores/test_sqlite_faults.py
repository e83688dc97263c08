"""What can go wrong with a file: a clear error that names it, and nothing lost that was acknowledged."""

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
from sidelane.stores.sqlite.connection import APPLICATION, SCHEMA, check_version
from sidelane.stores.sqlite.store import SqliteStore
from sidelane.stores.sqlite.touched import ChangeSet
from sidelane.stores.sqlite.verbs.submit import submit

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


async def opened(path: Path) -> SqliteStore:
    return await SqliteStore.open(str(path), time.time)


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = await opened(path)
    yield store
    await store.close()


def specs(first: int, count: int, size: int = 0) -> list[JobSpec]:
    return [JobSpec(id=f"j{n}", task="t", arguments='"' + "x" * size + '"') for n in range(first, first + count)]


def contents(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, contents: bytes) -> None:
    path.write_bytes(contents)


def overwrite_last(path: Path, share: float) -> None:
    """Overwrite the last part of a database, its first page never: without that it is no database at all."""
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
def powerless() -> Iterator[Path]:
    """Give a folder of our own; `give_up_rights` ends the right to write there, for root by being nobody meanwhile."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def give_up_rights(folder: Path, *, file: int, inside: int) -> None:
    (folder / "jobs.db").chmod(file)
    folder.chmod(inside)
    if os.getuid() == 0:
        os.seteuid(NOBODY)


# Files that are not ours to use.


async def test_a_newer_schema_is_refused(path: Path) -> None:
    await (await opened(path)).close()
    pragma(path, "user_version", SCHEMA + 1)
    with pytest.raises(StoreMisconfigured, match=rf"jobs\.db was written by a newer Sidelane \(schema {SCHEMA + 1}; "):
        await opened(path)


async def test_a_schema_from_before_the_first_release_is_refused(path: Path) -> None:
    await (await opened(path)).close()
    pragma(path, "user_version", 1)
    with pytest.raises(
        StoreMisconfigured, match=r"jobs\.db was written by a Sidelane before the first release .*new file"
    ):
        await opened(path)


async def test_the_database_of_another_program_is_refused(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = contents(path)
    with pytest.raises(StoreMisconfigured, match=r"jobs\.db belongs to another program: point SIDELANE_STORE"):
        await opened(path)
    assert contents(path) == before


async def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    write(path, b"Dear diary, " * 1000)
    with pytest.raises(StoreMisconfigured, match=r"jobs\.db is not an SQLite database: point SIDELANE_STORE"):
        await opened(path)
    assert contents(path).startswith(b"Dear diary")


async def test_an_empty_file_becomes_a_store(path: Path) -> None:
    write(path, b"")
    store = await opened(path)
    assert connection_of(store).pragma("application_id") == APPLICATION
    await store.close()


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreMisconfigured, match=r"none/jobs\.db does not exist: create it, or change SIDELANE_STORE"):
        await opened(tmp_path / "none" / "jobs.db")


async def test_a_folder_in_place_of_the_file_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(StoreMisconfigured, match="cannot be opened"):
        await opened(tmp_path)


@pytest.mark.parametrize("found", ["3.40.1", "3.51.2"])
def test_an_sqlite_with_the_corruption_bug_is_refused(found: str) -> None:
    with pytest.raises(ConfigurationError, match="too old"):
        check_version(found)


@pytest.mark.parametrize("found", ["3.51.3", "3.54.1", "4.0.0"])
def test_an_sqlite_without_it_will_do(found: str) -> None:
    check_version(found)


# Rights.


async def test_a_file_that_may_not_be_written_is_refused() -> None:
    with powerless() as folder:
        await (await opened(folder / "jobs.db")).close()
        give_up_rights(folder, file=0o444, inside=0o755)
        with pytest.raises(StoreMisconfigured, match=r"jobs\.db is read-only: give this user the right to write"):
            await opened(folder / "jobs.db")


async def test_a_folder_that_may_not_be_written_is_refused() -> None:
    with powerless() as folder:
        await (await opened(folder / "jobs.db")).close()
        give_up_rights(folder, file=0o666, inside=0o555)
        with pytest.raises(StoreMisconfigured, match=r"jobs\.db (is read-only|cannot be opened)"):
            await opened(folder / "jobs.db")


# A full disk.


@contextmanager
def full_disk(store: SqliteStore, spare: int = 0) -> Iterator[None]:
    """Let the database grow by no more than so many pages."""
    connection = connection_of(store)
    most = connection.pragma("max_page_count")
    connection.pragma("max_page_count", int(connection.pragma("page_count")) + spare)
    try:
        yield
    finally:
        connection.pragma("max_page_count", most)


async def test_a_full_disk_is_told_and_nothing_acknowledged_is_lost(store: SqliteStore) -> None:
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


async def test_what_is_too_much_for_a_full_disk_does_not_stop_what_is_not(store: SqliteStore) -> None:
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


async def damaged(path: Path, share: float) -> None:
    """Make a store whose file is damaged."""
    store = await opened(path)
    await store.submit(specs(0, 500))
    await store.close()
    overwrite_last(path, share)


async def test_a_file_whose_tables_are_damaged_is_refused(path: Path) -> None:
    await damaged(path, 1.0)
    with pytest.raises(StoreMisconfigured, match=r"jobs\.db is damaged"):
        await opened(path)


async def test_damage_that_is_met_later_is_told_then(path: Path) -> None:
    await damaged(path, 0.4)
    store = await opened(path)
    with pytest.raises(StoreMisconfigured, match=r"jobs\.db is damaged"):
        await store.get([f"j{n}" for n in range(500)])
    with pytest.raises(StoreMisconfigured, match=r"jobs\.db is damaged"):
        await store.cancel([f"j{n}" for n in range(500)])
    await store.close()


# Locks.


async def test_a_lock_held_too_long_is_told_and_the_same_call_works_later(path: Path, store: SqliteStore) -> None:
    store._writer._database.patience = 0.2
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match=r"jobs\.db is locked by another process for too long"):
        await store.submit(specs(0, 1))
    assert await store.get(["j0"]) == [None]  # readers wait for nobody
    other.execute("ROLLBACK")
    other.close()
    assert len(await store.submit(specs(0, 1))) == 1


async def test_a_lock_held_for_a_moment_is_waited_for(path: Path, store: SqliteStore) -> None:
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(store.submit(specs(0, 1)))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    other.execute("COMMIT")
    other.close()
    assert len(await waiting) == 1


# Use.


async def test_a_closed_store_says_so(path: Path) -> None:
    store = await opened(path)
    await store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.submit(specs(0, 1))
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.get(["j0"])
    await store.close()


async def test_calls_under_way_end_before_the_store_is_closed(path: Path) -> None:
    store = await opened(path)
    submitting = asyncio.create_task(store.submit(specs(0, 150)))
    await asyncio.sleep(0)
    await store.close()
    assert len(await submitting) == 150


async def test_a_fault_in_one_call_of_a_group_leaves_the_others_alone(store: SqliteStore) -> None:
    broken = store.get_or_set("name", object())  # type: ignore[arg-type]
    answers = await asyncio.gather(store.submit(specs(0, 1)), broken, store.submit(specs(1, 1)), return_exceptions=True)
    assert isinstance(answers[1], TypeError)
    assert await states(store, ["j0", "j1"]) == {State.QUEUED}


async def test_a_call_that_fails_half_way_leaves_nothing_half_written(store: SqliteStore) -> None:
    def half(connection: apsw.Connection, now: float, touched: ChangeSet) -> None:
        submit(connection, now, touched, specs(1, 1))
        raise ValueError("half-way")

    answers = await asyncio.gather(
        store.submit(specs(0, 1)), store._writer.call(half), store.submit(specs(2, 1)), return_exceptions=True
    )
    assert isinstance(answers[1], ValueError)
    assert await states(store, ["j0", "j2"]) == {State.QUEUED}
    assert await store.get(["j1"]) == [None]
