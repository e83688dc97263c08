"""Jobs hold their files: from before the submit until the job is removed, and not where it was not taken."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sidelane import (
    PREVIOUS_FAILURE,
    PREVIOUS_RESULT,
    ArgumentsError,
    ConcurrencyLimit,
    ConfigurationError,
    File,
    FilesUnavailable,
    FinishedJob,
    Job,
    LimitReached,
    Sidelane,
    UnknownFile,
)
from sidelane.client.file_references import MAX_FILES
from sidelane.files import references
from sidelane.files.files import Files
from sidelane.testing import harness
from tests.files.conftest import MakeLane, everything

NOBODY = "sidelane-file:" + "0" * 32


async def until(what: Callable[[], Awaitable[Any]]) -> None:
    """Wait for something that another part of the system does soon."""
    async with asyncio.timeout(20):
        while not await what():
            await asyncio.sleep(0.02)


async def is_gone(files: Files, *gone: File) -> bool:
    """Tell whether these files are gone with every mark of theirs."""
    left = await everything(files)
    return not any(file.id.rpartition(":")[2] in path for file in gone for path in left)


def is_loose(files: Files, file: File) -> Awaitable[bool]:
    return files.objects.exists(references.loose_path(file.id.rpartition(":")[2]))


class Shop:
    """A lane with tasks that take and give files, held by a gate."""

    def __init__(self, lane: Sidelane) -> None:
        self.lane = lane
        self.files = lane.files
        self.gate = asyncio.Event()

        @lane.task(limits=[ConcurrencyLimit(1, per="user")])
        async def size(audio: File, note: str = "") -> int:
            await self.gate.wait()
            return len(await audio.read())

        @lane.task(retention=0)
        async def brief(audio: File) -> File:
            return await lane.files.save(await audio.read() + b"!", name="longer.txt")

        @lane.task
        async def longer(audio: File) -> File:
            return await lane.files.save(await audio.read() + b"!", name="longer.txt")

        @lane.task
        async def fail(audio: File) -> None:
            raise ValueError

        @lane.task
        async def said(what: FinishedJob, audio: File) -> str:
            return f"{what.task} {(await audio.read()).decode()}"

        @lane.task
        async def talk(text: str) -> str:
            return text

        self.size, self.brief, self.longer, self.fail, self.said, self.talk = size, brief, longer, fail, said, talk


@pytest.fixture
def shop(lane: Sidelane) -> Shop:
    return Shop(lane)


async def test_file_is_removed_with_its_job_after_retention(shop: Shop) -> None:
    async with shop.lane.open(workers=1):
        file = await shop.files.save(b"hello")
        assert await is_loose(shop.files, file)
        await shop.brief.submit(file)
        assert not await is_loose(shop.files, file)
        await until(lambda: is_gone(shop.files, file))
        await until(lambda: _is_empty(shop.files))  # the one that the task made, too


async def test_file_is_removed_with_its_job(shop: Shop) -> None:
    async with shop.lane.open(workers=1):
        file = await shop.files.save(b"hello")
        job = await shop.longer.submit(file)
        made = await job.result(timeout=20)
        assert await made.read() == b"hello!"
        assert not await is_loose(shop.files, made)
        assert await shop.lane.files.tidy(everything=True) == 0  # nothing of a job that is there is left over
        await shop.lane.client.store.remove([job.id])
        await until(lambda: is_gone(shop.files, file, made))
        assert await everything(shop.files) == []


async def test_file_shared_by_two_jobs_survives_the_first(shop: Shop) -> None:
    async with shop.lane.open(workers=1):
        file = await shop.files.save(b"hello")
        stays = await shop.size.options(user="ann").submit(file)
        goes = await shop.brief.submit(file)
        made = await goes.result(timeout=20)
        await until(lambda: is_gone(shop.files, made))  # the first is removed with what it made
        shop.gate.set()
        assert await stays.result(timeout=20) == 5
        await shop.lane.client.store.remove([stays.id])
        await until(lambda: is_gone(shop.files, file))


async def test_refused_submit_leaves_no_file(shop: Shop) -> None:
    async with shop.lane.open():
        first, second = await shop.files.save(b"one"), await shop.files.save(b"two")
        await shop.size.options(user="ann").submit(first)
        with pytest.raises(LimitReached):
            await shop.size.options(user="ann").submit(second)
        assert await is_gone(shop.files, second)
        with pytest.raises(LimitReached):  # one that another job holds stays
            await shop.size.options(user="ann").submit(first)
        assert await first.read() == b"one"


@pytest.mark.parametrize("options", [{"id": "once"}, {"unique": "once"}], ids=["id", "unique"])
async def test_repeated_submit_leaves_no_second_file(shop: Shop, options: Any) -> None:
    async with shop.lane.open(workers=1):
        first, second = await shop.files.save(b"one"), await shop.files.save(b"two and more")
        job = await shop.size.options(user="ann", **options).submit(first)
        for file in (second, first):
            again = await shop.size.options(user="ann", **options).submit(file)
            assert (again.id, again.created) == (job.id, False)
        assert await is_gone(shop.files, second)
        shop.gate.set()
        assert await job.result(timeout=20) == 3


@pytest.mark.parametrize("location", ["folder"], indirect=True)
async def test_submitted_job_is_returned_even_if_file_storage_fails(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(paths: Any) -> None:
        raise FilesUnavailable

    async with shop.lane.open(workers=1):
        file = await shop.files.save(b"hello")
        with monkeypatch.context() as patch:
            patch.setattr(shop.files.objects, "delete", away)
            job = await shop.size.options(user="ann").submit(file)
        assert await is_loose(shop.files, file)  # so that it is looked at in a day
        shop.gate.set()
        assert await job.result(timeout=10) == 5


async def test_job_with_a_missing_file_is_refused(shop: Shop) -> None:
    async with shop.lane.open(workers=1):
        file = await shop.files.save(b"one")
        missing = file.model_copy(update={"id": NOBODY})
        with pytest.raises(UnknownFile, match="a file of this call does not exist"):
            await shop.size.options(user="ann").submit(missing)
        assert await shop.lane.client.store.stats() == []
        job = await shop.talk.submit(f"what is {NOBODY}, and {file.id}?")  # only mentioned
        assert await job.result(timeout=20) == f"what is {NOBODY}, and {file.id}?"
        assert not await is_loose(shop.files, file)
        await shop.lane.client.store.remove([job.id])
        await until(lambda: _is_empty(shop.files))


@pytest.mark.parametrize("location", ["folder"], indirect=True)
async def test_too_many_files_are_refused_and_invented_ids_cost_no_writes(shop: Shop) -> None:
    ids = [f"sidelane-file:{number:032x}" for number in range(MAX_FILES + 1)]
    async with shop.lane.open():
        with pytest.raises(ArgumentsError, match="names at most 1,000 files"):
            await shop.talk.submit(" ".join(ids))
        await shop.talk.submit(" ".join(ids[1:]))
        assert await everything(shop.files) == []


async def test_follow_ups_have_their_own_files_and_those_of_the_previous_job(shop: Shop) -> None:
    async with shop.lane.open(workers=1):
        file = await shop.files.save(b"a")
        job = await shop.brief.options(then=shop.longer.call(PREVIOUS_RESULT)).submit(file)
        child: Job[File] = shop.longer.job(f"{job.id}.1.0")
        await until(lambda: _has_ended(shop.lane, child.id))
        last = await child.result(timeout=1)
        assert await last.read() == b"a!!"
        await until(lambda: is_gone(shop.files, file))  # its job is gone by now, and nobody else had it
        held = await shop.files.references.files_of(child.id)
        assert len(held) == 2  # what it was given by a job that is gone, and what it made
        other = await shop.files.save(b"b")
        failing = await shop.fail.options(on_failure=shop.said.call(PREVIOUS_FAILURE, other)).submit(other)
        told = shop.said.job(f"{failing.id}.1.0")
        await until(lambda: _has_ended(shop.lane, told.id))
        assert await told.result(timeout=1) == "fail b"


async def test_jobs_of_a_batch_reference_their_files(shop: Shop) -> None:
    async with shop.lane.open(workers=1):
        one, two = await shop.files.save(b"one"), await shop.files.save(b"two")
        calls = [shop.size.options(user=user).call(file) for user, file in (("ann", one), ("ann", two), ("bob", one))]
        batch = await shop.lane.submit_many(calls)
        assert [rejected.index for rejected in batch.rejected] == [1]
        assert await is_gone(shop.files, two)
        assert not await is_loose(shop.files, one)
        shop.gate.set()
        assert [await job.result(timeout=20) for job in batch.jobs if job] == [3, 3]
        with pytest.raises(ArgumentsError, match="A call that follows a batch cannot take a file"):
            await shop.lane.submit_many([shop.talk.call("x")], then=shop.longer.call(one))


@pytest.mark.parametrize("location", ["folder"], indirect=True)
async def test_schedule_accepts_no_file(shop: Shop) -> None:
    async with shop.lane.open():
        call = shop.size.options(user="ann").call(await shop.files.save(b"one"))
    with pytest.raises(ConfigurationError, match="its arguments name a file"):
        shop.lane.schedule("often", call, every=60)


@pytest.mark.parametrize("location", ["folder"], indirect=True)
async def test_job_without_files_makes_no_storage_requests(make_lane: MakeLane) -> None:
    lane = make_lane(file_storage="s3://nowhere-at-all")
    shop = Shop(lane)
    async with lane.open(workers=1):
        job = await shop.talk.submit("hello")
        assert await job.result(timeout=20) == "hello"
        assert (await job.record()).spec.follow_ups == ()


async def test_harness_uses_a_temporary_folder(shop: Shop) -> None:
    shop.gate.set()
    async with harness(shop.lane) as t:
        file = await shop.files.save(b"hello")
        place = shop.files.objects.folder
        assert place is not None
        assert str(place) != shop.lane.settings.file_storage
        assert await t.run(shop.size.options(user="ann").call(file)) == 5
    assert not place.exists()


async def _is_empty(files: Files) -> bool:
    return await everything(files) == []


async def _has_ended(lane: Sidelane, job_id: str) -> bool:
    (found,) = await lane.client.store.get([job_id])
    return found is not None and getattr(found, "state", None) is not None and found.state.finished  # type: ignore[union-attr]
