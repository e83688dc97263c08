"""`sidelane files tidy`."""

import asyncio
import json
import os
import time
from pathlib import Path

from sidelane import Sidelane
from sidelane.files import references
from tests.cli.command import Command
from tests.cli.store_driver import StoreDriver


def test_unreferenced_files_are_removed_and_counted(driver: StoreDriver, sidelane: Command, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    env = {"SIDELANE_FILE_STORAGE": str(folder)}
    driver.submit("held")
    lane = Sidelane(store=driver.url, settings={"file_storage": str(folder)})

    async def save() -> tuple[str, str]:
        one, two = [(await lane.files.save(text)).id.rpartition(":")[2] for text in (b"one", b"two")]
        for file, job in ((one, "held"), (two, "lost")):
            await lane.files.references.add(job, [file])
            await lane.files.objects.put(references.loose_path(file), json.dumps({"until": 0}).encode())
        return one, two

    one, two = asyncio.run(save())
    assert sidelane("files", "tidy", "--json", env=env).json == {"removed": 0}  # a submission may be in progress
    before = time.time() - 2 * references.DAY
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (before, before))
    result = sidelane("files", "tidy", env=env)
    assert (result.exit_code, result.stdout) == (0, "Files removed: 1\n")
    assert (folder / "files" / one).exists()
    assert not (folder / "files" / two).exists()
    result = sidelane("files", "tidy", env=env)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "No file to remove" in result.stderr


def test_invalid_file_storage_is_a_configuration_error(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    result = sidelane("files", "tidy", env={"SIDELANE_FILE_STORAGE": "ftp://nowhere"})
    assert result.exit_code == 3
    assert "s3://bucket/prefix" in result.stderr
