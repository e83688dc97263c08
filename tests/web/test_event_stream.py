"""Event streams: the job, then its log, then its end; every event by the published schemas."""

import asyncio
import json
from dataclasses import replace

import httpx2
import jsonschema
import pytest

from sidelane.model.errors import StoreUnavailable
from sidelane.model.event import Cursor
from sidelane.web import event_schemas, sse
from tests.web.clients import EVENT_STREAM, Frame, Server, frames_of, run_server
from tests.web.conftest import MakeService
from tests.web.service import Service


def events(frames: list[Frame]) -> list[Frame]:
    return [frame for frame in frames if frame.data is not None]


async def streamed(client: httpx2.AsyncClient, name: str, **arguments: object) -> list[Frame]:
    answer = await client.post(f"/do/{name}", json=arguments, headers=EVENT_STREAM)
    assert answer.status_code == 200
    return events(frames_of(answer.text))


async def test_stream_has_location_and_disables_proxy_buffering(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/do/echo", headers=EVENT_STREAM)
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert {"no-cache", "no-transform"} <= {part.strip() for part in answer.headers["Cache-Control"].split(",")}
    assert {"Accept", "Prefer"} <= {part.strip() for part in answer.headers["Vary"].split(",")}
    assert "Content-Length" not in answer.headers
    document = (await client.get(answer.headers["Location"])).json()
    assert document["state"] == "succeeded"


async def test_stream_begins_with_the_reconnect_delay_and_the_job(client: httpx2.AsyncClient) -> None:
    frames = frames_of((await client.post("/do/echo", headers=EVENT_STREAM)).text)
    assert frames[0].retry is not None
    assert 500 <= frames[0].retry <= 10_000
    assert (frames[1].event, frames[1].id) == ("job", None)
    assert frames[1].data["links"]["self"] == f"/jobs/{frames[1].data['id']}"


async def test_stream_ends_with_one_end_event_with_the_result(client: httpx2.AsyncClient) -> None:
    first, *_, last = frames = await streamed(client, "echo", text="hi")
    assert [frame.event for frame in frames] == ["job", "end"]
    assert last.data == {"id": first.data["id"], "state": "succeeded", "result": "hi"}


async def test_tokens_are_in_order_and_their_concatenation_is_the_result(client: httpx2.AsyncClient) -> None:
    _, *tokens, end = await streamed(client, "talk", words=700)  # more than one page
    assert {frame.event for frame in tokens} == {"token"}
    assert "".join(frame.data["text"] for frame in tokens) == end.data["result"]
    assert end.data["result"].split() == [f"word{number}" for number in range(700)]


async def test_event_id_has_the_job_id_and_the_event_number(client: httpx2.AsyncClient) -> None:
    job, *logged = await streamed(client, "talk", words=5)
    cursors = [Cursor.parse(frame.id or "") for frame in logged]
    assert {job_id for job_id, _ in cursors} == {job.data["id"]}
    assert [cursor.number for _, cursor in cursors] == [2, 4, 6, 8, 10, 11]  # the others are of what the task logs


async def test_emitted_events_keep_their_names(client: httpx2.AsyncClient) -> None:
    frames = await streamed(client, "draw", points=1)
    assert [frame.event for frame in frames] == ["job", "progress", "note", "chart", "token", "end"]
    assert frames[1].data == {"percent": 50, "message": "drawing"}
    assert frames[2].data == {"text": "zwölf\n\r\u2028 lines", "nothing": None, "infinite": None}
    assert frames[3].data == frames[5].data["result"] == {"title": "<chart>", "points": [0.0]}


async def test_a_full_log_is_truncated_before_the_end_and_the_result_is_whole(
    client: httpx2.AsyncClient, service: Service
) -> None:
    task = service.lane.registry.tasks["talk"]
    task.policy = replace(task.policy, max_log_size=50)
    _, *logged, end = await streamed(client, "talk", words=20)
    assert [frame.event for frame in logged] == ["token", "token", "truncated"]
    assert (logged[-1].data, logged[-1].id is None) == ({}, False)
    assert end.data["result"].split() == [f"word{number}" for number in range(20)]
    jsonschema.validate(logged[-1].data, event_schemas()["truncated"], jsonschema.Draft202012Validator)


@pytest.mark.parametrize("name", ["echo", "talk", "draw", "flaky", "broken", "upstream", "no_credit", "slow"])
async def test_all_streamed_events_match_the_published_schemas(
    client: httpx2.AsyncClient, service: Service, name: str
) -> None:
    service.pace.allow(10)
    published = event_schemas()
    for frame in await streamed(client, name, **{"talk": {"words": 2}, "draw": {"points": 2}}.get(name, {})):
        if frame.event in published:
            jsonschema.validate(frame.data, published[frame.event], jsonschema.Draft202012Validator)


async def test_retry_is_announced_by_an_attempt_event(server: Server, service: Service) -> None:
    async with server.stream("/do/flaky", "POST") as stream:
        before = await stream.until("token")
        service.pace.allow()
        rest = await stream.rest()
    assert before[-1].data == {"text": "attempt 1"}
    assert [(frame.event, frame.data) for frame in rest[:2]] == [
        ("attempt", {"attempt": 2}),
        ("token", {"text": "attempt 2"}),
    ]
    assert rest[-1].data["result"] == "attempt 2"
    assert len(rest) == 3


async def test_end_of_a_failed_job_has_its_problem(client: httpx2.AsyncClient) -> None:
    frames = await streamed(client, "upstream")
    end = frames[-1].data
    assert end["state"] == "failed"
    assert "result" not in end
    assert end["problem"]["status"] == 502
    assert end["problem"]["title"] == "Model failed"
    assert end["problem"]["job_id"] == end["id"]


async def test_message_of_an_exception_is_not_streamed(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/do/broken", headers=EVENT_STREAM)
    end = frames_of(answer.text)[-1].data
    assert end["problem"]["status"] == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "ValueError" not in answer.text


async def test_end_of_a_cancelled_job_has_its_state(server: Server, service: Service) -> None:
    async with server.stream("/do/held", "POST") as stream:
        (job,) = await stream.until("job")
        await service.pace.running.wait()
        await server.client.post(job.data["links"]["cancel"])
        (end,) = await stream.rest()
    assert end.data == {"id": job.data["id"], "state": "cancelled"}


async def test_each_token_is_sent_immediately(server: Server, service: Service) -> None:
    async with server.stream("/do/paced", "POST", json={"words": 3}) as stream:
        for number in range(3):
            service.pace.allow()
            assert (await stream.until("token"))[-1].data == {"text": f"word{number} "}
        assert [frame.event for frame in await stream.rest()] == ["end"]


async def test_all_streams_of_a_job_get_the_same_events(server: Server, service: Service) -> None:
    async with server.stream("/do/paced", "POST", json={"words": 2}) as first:
        (job,) = await first.until("job")
        links = job.data["links"]
        async with server.stream(links["events"]) as second, server.stream(f"{links['self']}/events") as third:
            service.pace.allow(2)
            received = [await stream.rest() for stream in (first, second, third)]
    identified = [[(frame.event, frame.id) for frame in frames if frame.event != "job"] for frames in received]
    assert identified[0] == identified[1] == identified[2]
    assert len(identified[0]) == 3


async def test_silent_stream_sends_pings(make: MakeService) -> None:
    service = make(sse_ping_interval=0.1)
    async with run_server(service.app) as server, server.stream("/do/held", "POST") as stream:
        assert [frame.event for frame in await stream.until_silent()] == ["job"]
        for _ in range(2):
            assert await stream.until_silent() == []
        service.pace.allow()
        assert [frame.event for frame in await stream.rest()] == ["end"]


async def test_unnamed_events_have_their_names_in_the_data(client: httpx2.AsyncClient) -> None:
    job = (await client.post("/do/echo", json={"text": "hi"})).json()
    frames = events(frames_of((await client.get(job["links"]["events"], params={"events": "message"})).text))
    assert {frame.event for frame in frames} == {"message"}
    assert [set(frame.data) for frame in frames] == [{"event", "data"}] * 2
    assert [frame.data["event"] for frame in frames] == ["job", "end"]
    assert frames[1].data["data"]["result"] == "hi"
    assert [frame.id is None for frame in frames] == [True, False]


async def test_event_data_is_strict_json(client: httpx2.AsyncClient) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    answer = await client.post("/do/draw", json={"points": 1}, headers=EVENT_STREAM)
    data = [line.removeprefix("data: ") for line in answer.text.split("\n") if line.startswith("data: ")]
    assert len(data) == 6
    for text in data:
        json.loads(text, parse_constant=refuse)


async def test_stream_continues_after_the_store_was_unavailable(
    server: Server, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*args: object, **options: object) -> None:
        raise StoreUnavailable("The store /secret/path is unavailable.")

    monkeypatch.setattr(sse, "STORE_RETRY_DELAY", (0.01, 0.02))
    async with server.stream("/do/paced", "POST", json={"words": 2}) as stream:
        service.pace.allow()
        await stream.until("token")
        with monkeypatch.context() as patch:
            patch.setattr(service.lane.client.store, "read", unavailable)
            service.pace.allow()
            frame = await anext(aiter(stream))
            assert frame.comment == "ping"
        assert [frame.event for frame in await stream.rest() if frame.comment is None] == ["token", "end"]


async def test_reconnect_delay_is_in_the_block_of_the_first_event(server: Server, service: Service) -> None:
    delays = set()
    for _ in range(5):
        async with server.stream("/do/echo", "POST") as stream:
            text = (await stream.response.aread()).decode()
        first = text.split("\n\n")[0].split("\n")
        assert [line.partition(":")[0] for line in first] == ["retry", "event", "data"]
        delays.add(first[0])
    assert len(delays) > 1  # so that the clients of a server that restarts do not all return at once


async def test_stopping_server_does_not_wait_for_open_streams(make: MakeService) -> None:
    service = make()
    async with asyncio.timeout(10), run_server(service.app) as server, server.stream("/do/held", "POST") as stream:
        await stream.until("job")
        server.uvicorn.should_exit = True
        with pytest.raises(httpx2.RemoteProtocolError):
            await stream.rest()
