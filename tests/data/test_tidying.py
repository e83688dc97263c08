"""What crashes leave over is found again, and nothing is removed that somebody holds, or is about to."""

import asyncio
import json
import os
import secrets
import time
from pathlib import Path

import pytest

from sidelane import File, FilesUnavailable, Sidelane, StoreUnavailable
from sidelane.data import holds
from sidelane.data.files import Files
from tests.contract.servers import RunningServer
from tests.data.conftest import MakeLane, everything

in_a_folder = pytest.mark.parametrize("location", ["folder"], indirect=True)


def key(file: File) -> str:
    return file.id.rpartition(":")[2]


async def left_over(files: Files, file: File) -> None:
    """Make it as if it had been loose for more than a day."""
    await files.objects.put(holds.loose(key(file)), json.dumps({"until": time.time() - 1}).encode())
    age(files, holds.loose(key(file)), 2 * holds.DAY)


def age(files: Files, path: str, seconds: float) -> None:
    """Make an object older than it is."""
    place = files.objects.local(path)
    assert place is not None
    os.utime(place, times=(time.time() - seconds, time.time() - seconds))


async def test_what_nobody_came_to_hold_within_a_day_is_removed(files: Files) -> None:
    old, new = await files.save(b"old"), await files.save(b"new")
    if files.objects.folder is not None:
        await left_over(files, old)
        assert await files.tidy() == 1
        assert not await files.objects.has(holds.content(key(old)))
    assert await files.tidy(everything=True) == 0
    assert await new.read() == b"new"


@in_a_folder
async def test_an_upload_that_never_came_is_forgotten(files: Files) -> None:
    upload = await files.upload_url(name="a.wav")
    path = holds.loose(upload.id.rpartition(":")[2])
    await files.objects.put(path, b'{"until": 0}')
    age(files, path, 2 * holds.DAY)
    assert await files.tidy() == 1
    assert await everything(files) == []


@in_a_folder
async def test_a_job_whose_submitter_died_before_it_could_say_so_keeps_its_file(lane: Sidelane) -> None:
    @lane.task
    async def size(audio: File) -> int:
        return len(await audio.read())

    async with lane.running():
        files = lane.files
        file = await files.save(b"hello")
        job = await size.submit(file)
        await left_over(files, file)  # as if the mark had stayed
        mark = holds.held_by(key(file), holds.holder_of(job.id))
        assert await files.tidy() == 0
        assert await files.objects.has(holds.loose(key(file)))  # a submit may be under way
        age(files, mark, 2 * holds.UNDER_WAY)
        assert await files.tidy() == 0
        assert not await files.objects.has(holds.loose(key(file)))
        assert await file.read() == b"hello"


@in_a_folder
async def test_a_file_whose_submitter_died_before_its_job_was_there_is_removed(files: Files) -> None:
    file = await files.save(b"hello")
    assert await files.holds.hold("never-came", [key(file)]) == {key(file)}
    await left_over(files, file)
    assert await files.tidy() == 0
    age(files, holds.held_by(key(file), "job.never-came"), 2 * holds.UNDER_WAY)
    assert await files.tidy() == 1
    assert await everything(files) == []


@in_a_folder
async def test_files_of_jobs_that_the_store_has_lost_are_removed_where_everything_is_looked_at(files: Files) -> None:
    file = await files.save(b"hello")
    await files.holds.hold("lost", [key(file)])
    await files.holds.keep([key(file)])
    age(files, holds.held_by(key(file), "job.lost"), 2 * holds.UNDER_WAY)
    assert await files.tidy() == 0
    assert await files.tidy(everything=True) == 1
    assert await everything(files) == []


@in_a_folder
async def test_what_was_put_by_an_old_link_is_removed_where_everything_is_looked_at(files: Files) -> None:
    path = holds.incoming("0" * 32)
    await files.objects.put(path, b"too late")
    await files.tidy(everything=True)
    assert await files.objects.has(path)  # its link may hold still
    age(files, path, 9 * holds.DAY)
    await files.tidy(everything=True)
    assert await everything(files) == []


@in_a_folder
async def test_a_removal_that_was_killed_is_finished(files: Files) -> None:
    file = await files.save(b"hello")
    await files.objects.put(holds.held_by(key(file), holds.REMOVING))
    with pytest.raises(FilesUnavailable, match="is being removed"):
        await files.holds.hold("job", [key(file)])
    age(files, holds.held_by(key(file), holds.REMOVING), 2 * holds.UNDER_WAY)
    await files.tidy(everything=True)
    assert await everything(files) == []


@in_a_folder
async def test_parts_of_uploads_that_were_killed_are_removed_from_a_folder(files: Files) -> None:
    file = await files.save(b"hello")
    part = files.objects.local(holds.content(key(file)) + "#1")
    assert part is not None
    part.write_bytes(b"half")
    await files.tidy()
    assert part.exists()
    age(files, holds.content(key(file)) + "#1", 2 * holds.DAY)
    await files.tidy()
    assert not part.exists()
    assert await file.read() == b"hello"


@in_a_folder
async def test_who_takes_hold_of_a_file_while_another_lets_go_has_it_or_is_told(files: Files) -> None:
    async def hold(file: str, after: float) -> bool:
        await asyncio.sleep(after)  # a little later each time, so that it falls between other steps of the removal
        return file in await files.holds.hold("second", [file])

    for number in range(40):
        file = key(await files.save(b"x"))
        await files.holds.hold("first", [file])
        await files.holds.keep([file])
        found, _ = await asyncio.gather(hold(file, number / 4000), files.holds.let_go("first", [file]))
        assert found == await files.objects.has(holds.content(file))
        await files.holds.let_go("second", [file])
    assert await everything(files) == []


async def test_saving_looks_at_what_is_left_over_now_and_then(lane: Sidelane) -> None:
    async with lane.running():
        first = await lane.files.save(b"x")
        assert lane.files._tidying is not None
        await lane.files._tidying
        before = lane.files._tidying
        await lane.files.save(b"y")
        assert lane.files._tidying is before  # an hour later, the next time
        assert await first.read() == b"x"


@in_a_folder
async def test_a_file_waits_where_the_store_cannot_say_whether_its_job_is_there(
    make_lane: MakeLane, tmp_path: Path
) -> None:
    server = RunningServer("valkey", tmp_path).start()
    lane = Sidelane(store=server.url(name=secrets.token_hex(4)), settings={"files": str(tmp_path / "files")})

    @lane.task
    async def size(audio: File) -> int:
        return len(await audio.read())

    try:
        async with lane.running():
            file = await lane.files.save(b"hello")
            server.stop()
            with pytest.raises(StoreUnavailable):
                await size.submit(file)
            assert await file.read() == b"hello"
            assert await lane.files.objects.has(holds.loose(key(file)))  # so that it is looked at in a day
    finally:
        server.stop()
