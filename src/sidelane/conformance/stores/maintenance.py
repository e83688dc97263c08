"""Maintenance: the size of the database, vacuum and backup."""

from pathlib import Path

import pytest

from sidelane.conformance.stores.actions import claim_job, failure, finish, record, specs, submit
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.errors import MaintenanceRefused, NotSupported
from sidelane.model.job import State
from sidelane.model.outcome import Failed
from sidelane.stores.contract import Store


def modes(folder: Path) -> dict[str, int]:
    """Return the names and modes of the files of a backup."""
    return {path.name: path.stat().st_mode & 0o777 for path in folder.glob("backup*")}


class DatabaseCare(StoreSuite):
    """What operators read and do about the database as a whole."""

    async def test_info_names_the_database_as_its_description_does(self, store: Store) -> None:
        info = await store.info()
        assert store.description.startswith(f"{info.kind} {info.version}")

    async def test_info_counts_jobs_of_every_state(self, store: Store) -> None:
        assert ((info := await store.info()).jobs, info.failed, info.bytes_per_job) == (0, 0, None)
        await submit(store, *specs("a", "b", "c"))
        await finish(store, await claim_job(store, "a"), Failed(failure()))
        info = await store.info()
        assert (info.jobs, info.failed) == (3, 1)

    async def test_info_has_a_plausible_size(self, store: Store) -> None:
        await submit(store, *specs("a", "b", "c"))
        info = await store.info()
        if info.size is not None:
            assert 0 <= info.free < info.size
            assert info.bytes_per_job == info.used // 3 if info.used else 0

    async def test_vacuum_keeps_every_job_and_the_store_accepts_more(self, store: Store) -> None:
        await submit(store, *specs("a", "b", "c"))
        await store.remove(["a"])
        try:
            await store.vacuum()
        except NotSupported as reason:
            assert str(reason)  # noqa: PT017 - either answer is right
        await submit(store, *specs("d"))
        for job in ("a", "b", "c", "d"):
            assert (await record(store, job)).state is State.QUEUED

    async def test_backup_is_a_private_file_or_not_supported(self, store: Store, tmp_path: Path) -> None:
        await submit(store, *specs("a"))
        path = tmp_path / "backup"
        try:
            await store.backup(str(path))
        except NotSupported as reason:
            assert str(reason)  # noqa: PT017 - either answer is right
            assert modes(tmp_path) == {}
        else:
            assert modes(tmp_path) == {"backup": 0o600}
            with pytest.raises(MaintenanceRefused, match="exists"):
                await store.backup(str(path))
            await store.backup(str(path), overwrite=True)
            assert modes(tmp_path) == {"backup": 0o600}
