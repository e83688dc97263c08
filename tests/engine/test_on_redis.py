"""A lane on Redis, from submit to the last event, with a worker of its own."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from sidelane import JobCancelled, JobFailed, Retry, Sidelane
from tests.contract.servers import KINDS, RunningServer

SOON = 10.0


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(request.param, tmp_path_factory.mktemp(request.param)).start()
    yield running
    running.stop()


@pytest.fixture
def lane(server: RunningServer) -> Sidelane:
    return Sidelane(store=server.url(name=secrets.token_hex(4)), settings={"lease": 2.0})


async def test_a_job_runs_streams_and_gives_its_result(lane: Sidelane) -> None:
    @lane.task
    async def spell(word: str) -> AsyncIterator[str]:
        for letter in word:
            yield letter
            await asyncio.sleep(0.01)

    async with lane.running(workers=1):
        job = await spell.submit("sidelane")
        events = [event async for event in job.events()]
        assert await job.result(SOON) == "sidelane"
    assert [json.loads(event.data)["text"] for event in events if event.name == "token"] == list("sidelane")
    assert events[-1].name == "end"
    assert [event.number for event in events] == list(range(1, len(events) + 1))


async def test_failures_retries_and_cancels_come_back_as_they_are(lane: Sidelane) -> None:
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

    async with lane.running(workers=1):
        good, bad, long = await second_time.submit(), await broken.submit(), await endless.submit()
        assert await good.result(SOON) == "done"
        with pytest.raises(JobFailed):
            await bad.result(SOON)
        await asyncio.sleep(0.1)
        await long.cancel()
        with pytest.raises(JobCancelled):
            await long.result(SOON)


async def test_a_thousand_jobs_of_many_users_all_run_once(lane: Sidelane) -> None:
    ran: list[int] = []

    @lane.task
    async def note(number: int) -> int:
        ran.append(number)
        return number

    async with lane.running(workers=1):
        jobs = await asyncio.gather(*(note.options(user=f"u{n % 7}").submit(n) for n in range(1000)))
        assert await asyncio.gather(*(job.result(30) for job in jobs)) == list(range(1000))
    assert sorted(ran) == list(range(1000))
