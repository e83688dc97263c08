"""Modes of files: what a store or a file storage creates is for its owner alone."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidelane import File, Sidelane
from sidelane.model.job import JobSpec
from sidelane.stores.factory import open_store


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """A umask that would let everybody read and write."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: mode(path) for path in folder.iterdir()}


async def test_database_and_its_log_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/jobs.db")
    await store.submit([JobSpec(id="a", task="t")])
    modes = modes_in(tmp_path)
    await store.close()
    assert modes.keys() >= {"jobs.db", "jobs.db-wal", "jobs.db-shm"}
    assert set(modes.values()) == {0o600}


async def test_mode_of_an_existing_database_stays(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    path.touch()
    path.chmod(0o660)
    store = await open_store(f"sqlite:///{path}")
    await store.submit([JobSpec(id="a", task="t")])
    modes = modes_in(tmp_path)
    await store.close()
    assert modes["jobs.db"] == modes["jobs.db-wal"] == 0o660


async def test_files_and_their_folders_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    lane = Sidelane(store=f"sqlite:///{tmp_path}/jobs.db", settings={"file_storage": str(tmp_path / "deep" / "files")})

    @lane.task
    async def keep(file: File) -> None: ...

    async with lane.open():
        await keep.submit(await lane.files.save(b"x" * 3_000_000, name="a.bin"))
        await lane.files.upload_url(name="b.txt", max_bytes=10)
        await lane.files.put_text("{}", name="c.json")
    storage = tmp_path / "deep" / "files"
    found = [storage, *storage.rglob("*")]
    assert {mode(path) for path in found if path.is_dir()} == {0o700}
    assert {mode(path) for path in found if path.is_file()} == {0o600}
    assert sum(path.is_file() for path in found) > 4


async def test_mode_of_an_existing_storage_folder_stays(tmp_path: Path) -> None:
    storage = tmp_path / "files"
    storage.mkdir()
    storage.chmod(0o750)
    lane = Sidelane(store="sqlite://:memory:", settings={"file_storage": str(storage)})
    async with lane.open():
        await lane.files.save(b"x", name="a.bin")
    assert mode(storage) == 0o750
    assert {mode(path) for path in storage.rglob("*")} == {0o700, 0o600}
