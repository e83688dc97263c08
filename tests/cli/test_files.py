"""`sidelane files`: removing what is left over."""

import asyncio
import json
import os
import time
from pathlib import Path

from sidelane import Sidelane
from sidelane.files import references
from tests.cli.command import Command
from tests.cli.shelf import Shelf


def test_what_is_left_over_is_removed_and_counted(shelf: Shelf, sidelane: Command, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    env = {"SIDELANE_FILE_STORAGE": str(folder)}
    shelf.submit("held")
    lane = Sidelane(store=shelf.url, settings={"file_storage": str(folder)})

    async def save() -> tuple[str, str]:
        one, two = [(await lane.files.save(text)).id.rpartition(":")[2] for text in (b"one", b"two")]
        for file, job in ((one, "held"), (two, "lost")):
            await lane.files.references.add(job, [file])
            await lane.files.objects.put(references.loose_path(file), json.dumps({"until": 0}).encode())
        return one, two

    one, two = asyncio.run(save())
    assert sidelane("files", "tidy", "--json", env=env).json == {"removed": 0}  # a submit may be under way
    before = time.time() - 2 * references.DAY
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (before, before))
    said = sidelane("files", "tidy", env=env)
    assert (said.code, said.out) == (0, "Files removed: 1\n")
    assert (folder / "files" / one).exists()
    assert not (folder / "files" / two).exists()
    said = sidelane("files", "tidy", env=env)
    assert (said.code, said.out) == (0, "")
    assert "Nothing is left over" in said.err


def test_a_place_that_cannot_be_used_is_a_configuration_error(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one")
    said = sidelane("files", "tidy", env={"SIDELANE_FILE_STORAGE": "ftp://nowhere"})
    assert said.code == 3
    assert "s3://bucket/prefix" in said.err
