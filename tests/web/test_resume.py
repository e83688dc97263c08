"""Resuming a broken stream: every event once, in order, and always the end."""

import random

import httpx2
import pytest

from sidelane.model.event import Cursor
from sidelane.model.job import Query
from tests.web.clients import EVENT_STREAM, Frame, Server, Stream, frames_of, run_server
from tests.web.conftest import MakeService
from tests.web.service import Service


async def finished(client: httpx2.AsyncClient, words: int = 5) -> tuple[str, list[Frame]]:
    """Run a job to its end; return the path of its events, and all of them except the snapshot."""
    answer = await client.post("/do/talk", json={"words": words}, headers=EVENT_STREAM)
    _, job, *logged = frames_of(answer.text)
    return f"/jobs/{job.data['id']}/events", logged


async def read(client: httpx2.AsyncClient, path: str, seen: str | None = None, **options: str) -> list[Frame]:
    headers = {"Last-Event-ID": seen} if seen else {}
    answer = await client.get(path, headers=headers, params=options)
    assert answer.status_code == 200, answer.text
    return [frame for frame in frames_of(answer.text) if frame.data is not None]


async def test_get_with_last_event_id_resumes_after_that_event(client: httpx2.AsyncClient) -> None:
    path, logged = await finished(client)
    for index, frame in enumerate(logged[:-1]):
        job, *rest = await read(client, path, frame.id)
        assert job.event == "job"
        assert rest == logged[index + 1 :]


async def test_get_with_after_resumes_after_that_event(client: httpx2.AsyncClient) -> None:
    path, logged = await finished(client)
    assert (await read(client, path, after=logged[2].id or ""))[1:] == logged[3:]


async def test_last_event_id_takes_precedence_over_after(client: httpx2.AsyncClient) -> None:
    path, logged = await finished(client)
    assert (await read(client, path, logged[3].id, after=logged[0].id or ""))[1:] == logged[4:]


async def test_empty_cursor_is_ignored(client: httpx2.AsyncClient) -> None:
    path, logged = await finished(client)
    assert (await read(client, path, after=""))[1:] == logged


async def test_post_with_last_event_id_resumes_and_submits_nothing(
    client: httpx2.AsyncClient, service: Service
) -> None:
    _, logged = await finished(client)
    headers = {**EVENT_STREAM, "Last-Event-ID": logged[1].id or ""}
    answer = await client.post("/do/talk", json={"words": 5}, headers=headers)
    assert [frame for frame in frames_of(answer.text) if frame.id] == logged[2:]
    end = {**EVENT_STREAM, "Last-Event-ID": logged[-1].id or ""}
    assert (await client.post("/do/talk", json={"words": 5}, headers=end)).status_code == 204
    for unknown in ("nonsense", "00:ff:1"):
        answer = await client.post("/do/talk", json={"words": 5}, headers={"Last-Event-ID": unknown})
        assert answer.status_code == (400 if unknown == "nonsense" else 404)
    assert len(await service.lane.client.find(Query())) == 1


async def test_only_a_cursor_at_the_end_is_204(client: httpx2.AsyncClient) -> None:
    path, logged = await finished(client)
    answer = await client.get(path, headers={"Last-Event-ID": logged[-1].id or ""})
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await read(client, path, logged[-2].id))[1:] == logged[-1:]
    assert (await read(client, path))[1:] == logged


async def test_cursor_at_the_newest_event_of_a_running_job_waits_for_the_next(server: Server, service: Service) -> None:
    async with server.stream("/do/paced", "POST", json={"words": 2}) as stream:
        service.pace.allow()
        seen = (await stream.until("token"))[-1]
    async with server.stream("/do/paced", "POST", headers={"Last-Event-ID": seen.id}) as stream:
        await stream.until("job")
        service.pace.allow()
        assert [frame.event for frame in await stream.rest()] == ["token", "end"]


@pytest.mark.parametrize("reason", ["unknown epoch", "number beyond the epoch"])
async def test_unknown_cursor_gets_a_gap_and_the_whole_log(client: httpx2.AsyncClient, reason: str) -> None:
    path, logged = await finished(client)
    job_id, known = Cursor.parse(logged[2].id or "")
    unknown = Cursor(known.epoch ^ 1, 2) if reason == "unknown epoch" else Cursor(known.epoch, 999)
    job, gap, *rest = await read(client, path, unknown.text(job_id))
    assert (job.event, gap.event, gap.id, gap.data) == ("job", "gap", None, {})
    assert rest == logged


@pytest.mark.parametrize(
    "cursor",
    ["7", "a:b", "a:b:c", "a:1:-1", "a:1:1:1", "🦆:1:1", "{job}:1", "{job}:xyz:1", "{job}:1:99999999999999999"],
)
async def test_malformed_cursor_is_400(client: httpx2.AsyncClient, cursor: str) -> None:
    path, _ = await finished(client)
    malformed = cursor.replace("{job}", path.split("/")[2])
    for answer in (
        await client.get(path, params={"after": malformed}),
        await client.get(path, headers=[(b"Last-Event-ID", malformed.encode())]),
        await client.post("/do/echo", headers=[(b"Last-Event-ID", malformed.encode())]),
    ):
        assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/problem+json")
        assert "Last-Event-ID" in answer.json()["detail"]


async def test_cursor_of_another_job_is_400(client: httpx2.AsyncClient) -> None:
    path, _ = await finished(client)
    _, others = await finished(client)
    answer = await client.get(path, headers={"Last-Event-ID": others[0].id or ""})
    assert answer.status_code == 400
    assert "another job" in answer.json()["detail"]


async def test_stream_of_a_requeued_job_resumes_after_its_first_end(server: Server, service: Service) -> None:
    service.pace.allow()
    async with server.stream("/do/paced", "POST") as stream:
        first = await stream.rest()
    job_id = first[0].data["id"]
    await service.lane.client.requeue(job_id)
    async with server.stream(f"/jobs/{job_id}/events", headers={"Last-Event-ID": first[-1].id}) as again:
        await again.until("job")
        service.pace.allow()
        rest = await again.rest()
    assert [frame.event for frame in rest] == ["attempt", "token", "end"]
    async with server.stream(f"/jobs/{job_id}/events") as whole:
        names = [frame.event for frame in await whole.rest()]
    assert names == ["job", "token", "attempt", "token", "end"]


async def test_end_before_a_requeue_is_not_streamed(make: MakeService) -> None:
    service = make(workers=0, sse_ping_interval=0.1)
    async with run_server(service.app) as server:
        job = (await server.client.post("/do/echo")).json()
        await server.client.post(job["links"]["cancel"])
        await service.lane.client.requeue(job["id"])
        async with server.stream(job["links"]["events"]) as stream:
            assert [frame.event for frame in await stream.until_silent()] == ["job"]
            await server.client.post(job["links"]["cancel"])
            assert [frame.event for frame in await stream.rest()] == ["end"]


@pytest.mark.parametrize("seed", range(3))
async def test_random_reconnects_get_every_event_once_in_order_and_the_end(
    server: Server, service: Service, seed: int
) -> None:
    """The connection breaks 20 times at random, sometimes before the first event and sometimes after the end."""
    words = 60
    chance = random.Random(seed)
    async with server.stream("/do/paced", "POST", json={"words": words}) as stream:
        (job,) = await stream.until("job")
    service.pace.allow(2)
    seen: list[Frame] = []
    for _ in range(20):
        service.pace.allow(5)  # all 60 are allowed long before the last connection
        seen += await read_some(server.client, job.data["links"]["events"], seen, chance.choice([0, 1, 2, 4, 8]))
    seen += await read_some(server.client, job.data["links"]["events"], seen, words + 1)
    assert [frame.event for frame in seen] == ["token"] * words + ["end"]
    assert [frame.data["text"] for frame in seen[:-1]] == [f"word{number} " for number in range(words)]
    numbers = [Cursor.parse(frame.id or "")[1].number for frame in seen]
    assert numbers == [*range(2, 2 * words + 1, 2), 2 * words + 1]  # the task also logs once a word
    for _ in range(3):
        assert await read_some(server.client, job.data["links"]["events"], seen, 1) == []


async def read_some(client: httpx2.AsyncClient, path: str, seen: list[Frame], count: int) -> list[Frame]:
    """Reconnect as an EventSource does, and close the connection again after `count` events of the log."""
    headers = {"Last-Event-ID": seen[-1].id or ""} if seen else {}
    received: list[Frame] = []
    async with client.stream("GET", path, headers=headers) as response:
        assert response.status_code == (204 if seen and seen[-1].event == "end" else 200)
        if response.status_code == 200 and count:
            async for frame in Stream(response):
                received += [frame] if frame.id else []
                if len(received) == count:
                    break
    return received
