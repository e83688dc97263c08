"""What crashes leave over is found again, and nothing is removed that somebody holds, or is about to."""

import asyncio
import json
import os
import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from sidelane import File, FilesUnavailable, Sidelane, StoreUnavailable
from sidelane.files import references
from sidelane.files.files import Files
from sidelane.files.storage import NO_HEADERS, ObjectStorage
from tests.contract.servers import RunningServer
from tests.files.conftest import MakeLane, everything
from tests.stores.short_timeouts import short_timeouts

in_a_folder = pytest.mark.parametrize("location", ["folder"], indirect=True)


def key(file: File) -> str:
    return file.id.rpartition(":")[2]


async def left_over(files: Files, file: File) -> None:
    """Make it as if it had been loose for more than a day."""
    await files.objects.put(references.loose_path(key(file)), json.dumps({"until": time.time() - 1}).encode())
    age(files, references.loose_path(key(file)), 2 * references.DAY)


def age(files: Files, path: str, seconds: float) -> None:
    """Make an object older than it is."""
    place = files.objects.local(path)
    assert place is not None
    os.utime(place, times=(time.time() - seconds, time.time() - seconds))


async def test_file_without_a_reference_is_removed_after_a_day(files: Files) -> None:
    old, new = await files.save(b"old"), await files.save(b"new")
    if files.objects.folder is not None:
        await left_over(files, old)
        assert await files.tidy() == 1
        assert not await files.objects.exists(references.content_path(key(old)))
    assert await files.tidy(everything=True) == 0
    assert await new.read() == b"new"


@in_a_folder
async def test_expected_upload_that_never_came_is_removed(files: Files) -> None:
    upload = await files.upload_url(name="a.wav")
    path = references.loose_path(upload.id.rpartition(":")[2])
    await files.objects.put(path, b'{"until": 0}')
    age(files, path, 2 * references.DAY)
    assert await files.tidy() == 1
    assert await everything(files) == []


@in_a_folder
async def test_job_keeps_its_file_if_the_submitter_crashed_before_confirming(lane: Sidelane) -> None:
    @lane.task
    async def size(audio: File) -> int:
        return len(await audio.read())

    async with lane.open():
        files = lane.files
        file = await files.save(b"hello")
        job = await size.submit(file)
        await left_over(files, file)  # as if the mark had stayed
        mark = references.reference_path(key(file), references.holder_of(job.id))
        assert await files.tidy() == 0
        assert await files.objects.exists(references.loose_path(key(file)))  # a submit may be under way
        age(files, mark, 2 * references.SUBMIT_TIMEOUT)
        assert await files.tidy() == 0
        assert not await files.objects.exists(references.loose_path(key(file)))
        assert await file.read() == b"hello"


@in_a_folder
async def test_file_is_removed_if_the_submitter_crashed_before_submitting(files: Files) -> None:
    file = await files.save(b"hello")
    assert await files.references.add("never-came", [key(file)]) == {key(file)}
    await left_over(files, file)
    assert await files.tidy() == 0
    age(files, references.reference_path(key(file), "job.never-came"), 2 * references.SUBMIT_TIMEOUT)
    assert await files.tidy() == 1
    assert await everything(files) == []


@in_a_folder
async def test_full_cleanup_removes_files_of_lost_jobs(files: Files) -> None:
    file = await files.save(b"hello")
    await files.references.add("lost", [key(file)])
    await files.references.confirm([key(file)])
    age(files, references.reference_path(key(file), "job.lost"), 2 * references.SUBMIT_TIMEOUT)
    assert await files.tidy() == 0
    assert await files.tidy(everything=True) == 1
    assert await everything(files) == []


@in_a_folder
async def test_full_cleanup_removes_uploads_of_expired_urls(files: Files) -> None:
    path = references.upload_path("0" * 32)
    await files.objects.put(path, b"too late")
    await files.tidy(everything=True)
    assert await files.objects.exists(path)  # its link may hold still
    age(files, path, 9 * references.DAY)
    await files.tidy(everything=True)
    assert await everything(files) == []


@in_a_folder
async def test_interrupted_removal_is_finished(files: Files) -> None:
    file = await files.save(b"hello")
    await files.objects.put(references.reference_path(key(file), f"{references.TOMBSTONE}killed"))
    with pytest.raises(FilesUnavailable, match="is being removed"):
        await files.references.add("job", [key(file)])
    age(files, references.reference_path(key(file), f"{references.TOMBSTONE}killed"), 2 * references.SUBMIT_TIMEOUT)
    assert await files.references.add("job", [key(file)]) == {
        key(file)
    }  # it is there, and its removal is none any more
    await files.references.release("job", [key(file)])
    assert await everything(files) == []


@in_a_folder
async def test_parts_of_interrupted_uploads_are_removed_from_a_folder(files: Files) -> None:
    file = await files.save(b"hello")
    part = files.objects.local(references.content_path(key(file)) + "#1")
    assert part is not None
    part.write_bytes(b"half")
    await files.tidy()
    assert part.exists()
    age(files, references.content_path(key(file)) + "#1", 2 * references.DAY)
    await files.tidy()
    assert not part.exists()
    assert await file.read() == b"hello"


@in_a_folder
async def test_reference_added_during_a_removal_is_valid_or_refused(files: Files) -> None:
    async def hold(file: str, after: float) -> bool:
        await asyncio.sleep(after)  # a little later each time, so that it falls between other steps of the removal
        return file in await files.references.add("second", [file])

    for number in range(40):
        file = key(await files.save(b"x"))
        await files.references.add("first", [file])
        await files.references.confirm([file])
        found, _ = await asyncio.gather(hold(file, number / 4000), files.references.release("first", [file]))
        assert found == await files.objects.exists(references.content_path(file))
        await files.references.release("second", [file])
    assert await everything(files) == []


class Stopping(ObjectStorage):
    """A folder in which one thing at a time waits to be let on."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.reached, self.on = asyncio.Event(), asyncio.Event()

    async def put(self, path: str, content: bytes = b"", headers: Mapping[str, str] = NO_HEADERS) -> None:
        await super().put(path, content, headers)
        if references.TOMBSTONE in path:
            await self._stop()

    async def delete(self, paths: Iterable[str]) -> None:
        paths = list(paths)
        if any(path.startswith("files/") for path in paths):
            await self._stop()
        await super().delete(paths)

    async def _stop(self) -> None:
        self.reached.set()
        await self.on.wait()
        self.on.clear()

    async def let_on(self) -> None:
        """Let on what waits, and see it come to the next place."""
        self.reached.clear()
        self.on.set()
        await self.reached.wait()


@in_a_folder
async def test_two_concurrent_removals_hide_nothing_from_a_third_process(files: Files) -> None:
    file = key(await files.save(b"x"))
    for job in ("first", "second"):
        await files.references.add(job, [file])
    slow = Stopping(files.location)
    going = asyncio.create_task(references.FileReferences(slow).release("second", [file]))
    await slow.reached.wait()
    await files.references.release("first", [file])
    await slow.let_on()  # it has seen that nobody else holds it, and is about to remove it
    third = asyncio.create_task(files.references.add("third", [file]))
    await asyncio.wait([third], timeout=0.3)
    slow.on.set()
    await going
    assert (file in await third) == await files.objects.exists(references.content_path(file))


@in_a_folder
async def test_removal_interrupted_in_the_middle_is_done_by_the_next_attempt(files: Files) -> None:
    file = key(await files.save(b"x"))
    await files.references.add("job", [file])
    await files.references.confirm([file])
    slow = Stopping(files.location)
    killed = asyncio.create_task(references.FileReferences(slow).release("job", [file]))
    await slow.reached.wait()
    await slow.let_on()
    killed.cancel()
    await asyncio.wait([killed])
    await files.references.release("job", await files.references.files_of("job"))
    assert not await files.objects.exists(references.content_path(file))


async def test_saving_starts_a_cleanup_now_and_then(lane: Sidelane) -> None:
    async with lane.open():
        first = await lane.files.save(b"x")
        assert lane.files._cleanup is not None
        await lane.files._cleanup
        before = lane.files._cleanup
        await lane.files.save(b"y")
        assert lane.files._cleanup is before  # an hour later, the next time
        assert await first.read() == b"x"


@in_a_folder
async def test_file_is_kept_while_the_store_is_unavailable(make_lane: MakeLane, tmp_path: Path) -> None:
    server = RunningServer("valkey", tmp_path).start()
    lane = Sidelane(store=server.url(name=secrets.token_hex(4)), settings={"file_storage": str(tmp_path / "files")})

    @lane.task
    async def size(audio: File) -> int:
        return len(await audio.read())

    try:
        async with lane.open():
            file = await lane.files.save(b"hello")
            server.stop()
            with short_timeouts(), pytest.raises(StoreUnavailable):
                await size.submit(file)
            assert await file.read() == b"hello"
            assert await lane.files.objects.exists(references.loose_path(key(file)))  # so that it is looked at in a day
    finally:
        server.stop()
