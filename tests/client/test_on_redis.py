"""A lane on Redis and its worker, from submit to the last event."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from sidelane import PREVIOUS_RESULT, FinishedBatch, JobCancelled, JobFailed, Retry, Sidelane
from sidelane.model.job import Query
from sidelane.model.schedule import ScheduleRecord
from tests.contract.servers import EVERY_KIND, RunningServer

SOON = 10.0


@pytest.fixture(scope="module", params=EVERY_KIND)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(request.param, tmp_path_factory.mktemp(request.param)).start()
    yield running
    running.stop()


@pytest.fixture
def lane(server: RunningServer) -> Sidelane:
    return Sidelane(store=server.url(name=secrets.token_hex(4)), settings={"lease_duration": 2.0})


async def test_a_job_streams_and_returns_its_result(lane: Sidelane) -> None:
    @lane.task
    async def spell(word: str) -> AsyncIterator[str]:
        for letter in word:
            yield letter
            await asyncio.sleep(0.01)

    async with lane.open(workers=1):
        job = await spell.submit("sidelane")
        events = [event async for event in job.events()]
        assert await job.result(SOON) == "sidelane"
    assert [json.loads(event.data)["text"] for event in events if event.name == "token"] == list("sidelane")
    assert events[-1].name == "end"
    assert [event.number for event in events] == list(range(1, len(events) + 1))


async def test_failures_retries_and_cancellations_are_read_back_unchanged(lane: Sidelane) -> None:
    tries: list[int] = []

    @lane.task(retry=Retry(attempts=2))
    async def second_time() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("not yet")
        return "done"

    @lane.task
    async def broken() -> None:
        raise RuntimeError("always")

    @lane.task
    async def endless() -> None:
        await asyncio.sleep(60)

    async with lane.open(workers=1):
        good, bad, long = await second_time.submit(), await broken.submit(), await endless.submit()
        assert await good.result(SOON) == "done"
        with pytest.raises(JobFailed):
            await bad.result(SOON)
        await asyncio.sleep(0.1)
        await long.cancel()
        with pytest.raises(JobCancelled):
            await long.result(SOON)


async def test_a_thousand_jobs_of_many_users_each_run_once(lane: Sidelane) -> None:
    ran: list[int] = []

    @lane.task
    async def note(number: int) -> int:
        ran.append(number)
        return number

    async with lane.open(workers=1):
        jobs = await asyncio.gather(*(note.options(user=f"u{n % 7}").submit(n) for n in range(1000)))
        assert await asyncio.gather(*(job.result(30) for job in jobs)) == list(range(1000))
    assert sorted(ran) == list(range(1000))


async def test_a_batch_streams_to_its_end_and_returns_results(lane: Sidelane) -> None:
    @lane.task
    async def half(number: int) -> int:
        if number % 2:
            raise ValueError
        return number

    @lane.task
    async def tell(end: FinishedBatch) -> int:
        return end.failed

    async with lane.open(workers=1), asyncio.timeout(30):
        batch = await lane.submit_many((half.call(number) for number in range(600)), then=tell.call(PREVIOUS_RESULT))
        counts = [(record.succeeded, record.failed) async for record in batch.follow()]
        assert counts[-1] == (300, 300)
        assert [result for result in await batch.results() if isinstance(result, int)] == list(range(0, 600, 2))
        looked_up = await lane.batch(batch.id).results()
        assert [result for result in looked_up if isinstance(result, int)] == list(range(0, 600, 2))
        assert await tell.job(f"{batch.id}.1.0").result(SOON) == 300


async def together(lane: Sidelane) -> tuple[ScheduleRecord, int]:
    """Return the one schedule and the number of its jobs, between two of its runs."""
    while True:
        (before,) = await lane.schedules.list()
        count = len(await lane.client.find(Query(limit=100)))
        (after,) = await lane.schedules.list()
        if before.last == after.last:
            return before, count


async def test_schedules_run_once_with_several_processes(lane: Sidelane) -> None:
    other = Sidelane(store=lane.settings.store)
    for each in (lane, other):

        async def refresh() -> None: ...

        each.schedule("often", each.task(refresh).call(), every=0.3, catch_up="all")
    async with asyncio.timeout(30), other.open():
        async with lane.open():
            first, known = await together(lane)
            while len(await lane.client.find(Query(limit=100))) < 5:
                await asyncio.sleep(0.05)
        await other.schedules.disable("often")
        (last,) = await other.schedules.list()
        jobs = await other.client.find(Query(limit=100))
    assert last.job == jobs[0].id
    assert len(jobs) - known == len(first.schedule.due(first.last, last.last))
