"""Durability warnings about the place of an SQLite database."""

from pathlib import Path

import pytest

from sidelane.stores.factory import open_store
from sidelane.stores.sqlite import health
from sidelane.stores.sqlite.health import file_system

MOUNTS = """\
/dev/vda1 / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
files:/export /srv nfs4 rw,vers=4.2 0 0
/dev/vdb1 /srv/local xfs rw 0 0
//box/share /media/my\\040share cifs rw 0 0
/dev/vdc1 /over nfs rw 0 0
/dev/vdd1 /over ext4 rw 0 0
""".splitlines()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/ann/jobs.db", "ext4"),
        ("/srv/jobs.db", "nfs4"),
        ("/srv/local/jobs.db", "xfs"),
        ("/srvs/jobs.db", "ext4"),
        ("/media/my share/deep/down/jobs.db", "cifs"),
        ("/over/jobs.db", "ext4"),
    ],
)
def test_a_file_is_on_the_file_system_mounted_nearest_to_it(path: str, kind: str) -> None:
    assert file_system(path, MOUNTS) == kind


async def test_a_file_on_a_network_file_system_has_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    monkeypatch.setattr(health, "MOUNTS", mounts)
    for table, found in (f"files:/export {tmp_path} nfs4 rw 0 0\n", 1), (f"/dev/vda1 {tmp_path} ext4 rw 0 0\n", 0):
        mounts.write_text(table)
        store = await open_store(f"sqlite:///{tmp_path / 'jobs.db'}")
        await store.close()
        assert len(store.durability_warnings) == found


async def test_there_is_no_warning_if_mounts_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MOUNTS", tmp_path / "none")
    store = await open_store(f"sqlite:///{tmp_path / 'jobs.db'}")
    await store.close()
    assert store.durability_warnings == []
