"""Vacuum and backup of an SQLite file: while other processes write, without enough space, and onto files that exist."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest

from sidelane.model.errors import MaintenanceRefused, NotSupported, StoreUnavailable
from sidelane.model.job import JobRecord, JobSpec
from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store

WRITER = """
import asyncio, sys
from sidelane.model.job import JobSpec
from sidelane.stores.factory import open_store

async def main(url):
    store = await open_store(url)
    number = 0
    while True:
        await store.submit([JobSpec(id=f"job-{number}", task="t", arguments='{"text": "' + "x" * 2000 + '"}')])
        print(number, flush=True)
        number += 1

asyncio.run(main(sys.argv[1]))
"""
"""Submits jobs one after another, and prints the number of each that was acknowledged."""

TEXT = json.dumps({"text": "x" * 20_000})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    store = await open_store(f"sqlite:///{path}")
    yield store
    await store.close()


async def fill(store: Store, count: int = 200) -> list[str]:
    """Submit jobs of 20 kB, and return their ids."""
    ids = [f"job-{number}" for number in range(count)]
    await store.submit([JobSpec(id=each, task="t", arguments=TEXT) for each in ids])
    return ids


def size(path: Path) -> int:
    return path.stat().st_size


def files(folder: Path, name: str) -> list[str]:
    """Return the files of a name, with those that SQLite and a backup create beside it."""
    return [each.name for each in folder.glob(f"{name}*")]


async def empty(store: Store, ids: list[str]) -> None:
    await store.cancel(ids)
    assert all(await store.remove(ids))


@asynccontextmanager
async def submitting(path: Path) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Run a process that submits jobs. The function waits for the next acknowledged job and returns its number."""
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, f"sqlite:///{path}", stdout=asyncio.subprocess.PIPE
    )
    assert writer.stdout is not None
    lines = writer.stdout

    async def acknowledge() -> int:
        return int(await lines.readline())

    try:
        yield acknowledge
    finally:
        writer.kill()
        await writer.wait()


async def jobs_in(copy: Path) -> list[str]:
    """Open a copy as a store, and return the ids of its jobs."""
    store = await open_store(f"sqlite:///{copy}")
    try:
        ids = [f"job-{number}" for number in range((await store.info()).jobs)]
        return [each.spec.id for each in await store.get(ids) if isinstance(each, JobRecord)]
    finally:
        await store.close()


async def test_copy_has_every_job_that_was_acknowledged_before_the_backup_began(
    store: Store, path: Path, tmp_path: Path
) -> None:
    acknowledged = await fill(store, 2000)
    async with submitting(path) as acknowledge:
        # submits of the first 2,000 ids find the jobs that exist
        while (last := await acknowledge()) < len(acknowledged) + 20:
            pass
        for copy in (tmp_path / "first.db", tmp_path / "second.db"):
            before = last
            backing_up = asyncio.create_task(store.backup(str(copy)))
            while not backing_up.done():
                last = await acknowledge()  # the writer goes on meanwhile
            await backing_up
            assert last > before
            assert (await jobs_in(copy))[: before + 1] == [f"job-{number}" for number in range(before + 1)]


async def test_a_writer_goes_on_after_a_vacuum_and_loses_nothing(store: Store, path: Path) -> None:
    other = [f"other-{number}" for number in range(1000)]
    await store.submit([JobSpec(id=each, task="t", arguments=TEXT) for each in other])
    await empty(store, other)
    async with submitting(path) as acknowledge:
        before = await acknowledge()
        await store.vacuum()
        while (last := await acknowledge()) < before + 50:
            pass
    found = await store.get([f"job-{number}" for number in range(last + 1)])
    assert all(isinstance(each, JobRecord) for each in found)


async def test_backup_takes_a_snapshot_that_later_writes_do_not_change(store: Store, tmp_path: Path) -> None:
    await fill(store, 3)
    await store.backup(str(tmp_path / "copy.db"))
    await store.submit([JobSpec(id="job-3", task="t")])
    assert await jobs_in(tmp_path / "copy.db") == ["job-0", "job-1", "job-2"]


async def test_a_cancelled_backup_leaves_no_file(store: Store, tmp_path: Path) -> None:
    await fill(store, 2000)
    backing_up = asyncio.create_task(store.backup(str(tmp_path / "copy.db")))
    await asyncio.sleep(0)
    backing_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await backing_up
    assert files(tmp_path, "copy.db") == []


async def test_an_existing_file_is_not_overwritten_unless_asked(store: Store, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_text("mine")
    with pytest.raises(MaintenanceRefused, match="exists and was not changed"):
        await store.backup(str(copy))
    assert copy.read_text() == "mine"
    await fill(store, 1)
    await store.backup(str(copy), overwrite=True)
    assert await jobs_in(copy) == ["job-0"]


async def test_a_database_in_use_and_the_store_itself_are_not_overwritten(
    store: Store, path: Path, tmp_path: Path
) -> None:
    other = await open_store(f"sqlite:///{tmp_path / 'other.db'}")
    with pytest.raises(MaintenanceRefused, match="log file is beside it"):
        await store.backup(str(tmp_path / "other.db"), overwrite=True)
    await other.close()
    with pytest.raises(MaintenanceRefused, match="is the store itself"):
        await store.backup(str(path), overwrite=True)


async def test_a_folder_that_does_not_exist_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(MaintenanceRefused, match=r"missing does not exist"):
        await store.backup(str(tmp_path / "missing" / "copy.db"))
    with pytest.raises(MaintenanceRefused, match="is a folder"):
        await store.backup(str(tmp_path))


async def test_a_file_that_cannot_be_created_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(MaintenanceRefused, match="cannot be written: File name too long"):
        await store.backup(str(tmp_path / ("x" * 250)))


async def test_vacuum_shrinks_the_file_and_keeps_the_jobs(store: Store, path: Path) -> None:
    ids = await fill(store)
    await empty(store, ids[5:])
    before = await store.info()
    assert before.size is not None
    assert before.free > 2_000_000
    await store.vacuum()
    assert size(path) < before.size - 2_000_000
    assert (await store.info()).free == 0
    assert [each.spec.id for each in await store.get(ids) if isinstance(each, JobRecord)] == ids[:5]


async def test_other_processes_keep_using_a_vacuumed_store(store: Store, path: Path) -> None:
    other = await open_store(f"sqlite:///{path}")
    ids = await fill(store)
    await empty(other, ids[1:])
    await store.vacuum()
    assert isinstance((await other.get(["job-0"]))[0], JobRecord)
    await other.submit([JobSpec(id="new", task="t")])
    await other.close()
    assert (await store.info()).jobs == 2


async def test_without_space_neither_a_vacuum_nor_a_backup_begins(
    store: Store, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await empty(store, await fill(store))
    await fill(store, 50)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1000))
    before = size(path)
    with pytest.raises(MaintenanceRefused, match="not enough space for a vacuum"):
        await store.vacuum()
    with pytest.raises(MaintenanceRefused, match="not enough space for the backup"):
        await store.backup(str(tmp_path / "copy.db"))
    assert size(path) == before
    assert files(tmp_path, "copy.db") == []


async def test_a_moved_file_is_neither_vacuumed_nor_backed_up(store: Store, path: Path, tmp_path: Path) -> None:
    await asyncio.to_thread(path.rename, tmp_path / "moved.db")
    with pytest.raises(StoreUnavailable, match="was moved or deleted"):
        await store.vacuum()
    with pytest.raises(StoreUnavailable, match="was moved or deleted"):
        await store.backup(str(tmp_path / "copy.db"))


async def test_a_store_in_memory_has_nothing_to_back_up() -> None:
    store = await open_store("sqlite://:memory:")
    with pytest.raises(NotSupported):
        await store.backup("copy.db")
    with pytest.raises(NotSupported):
        await store.vacuum()
    await store.close()


async def test_info_has_the_log_and_the_files(store: Store, path: Path) -> None:
    await fill(store, 5)
    info = await store.info()
    assert (info.kind, info.version) == ("SQLite", apsw.sqlite_lib_version())
    assert info.files == (str(path), f"{path}-wal", f"{path}-shm")
    assert info.details["write-ahead log"] == size(Path(f"{path}-wal"))
    assert info.bytes_per_job is not None
    assert info.bytes_per_job > 20_000
