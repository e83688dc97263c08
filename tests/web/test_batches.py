"""Batches: jobs submitted together, streamed, counted, cancelled, and visible to their submitter only."""

import asyncio
from typing import Any

import httpx2
import jsonschema
import pytest
from fastapi import Depends, FastAPI, Response

from sidelane.model.job import Query
from sidelane.web import Jobs, Responder, event_schemas
from tests.web.clients import Server, frames_of
from tests.web.conftest import BOTH_STORES, MakeService, open_client
from tests.web.service import Service, current_user

PROBLEM = "application/problem+json"

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

pytestmark = BOTH_STORES


def texts(count: int) -> list[dict[str, Any]]:
    return [{"text": f"text {number}"} for number in range(count)]


async def wait_until_ended(client: httpx2.AsyncClient, batch: dict[str, Any]) -> dict[str, Any]:
    """Stream a batch to its end and return its document."""
    await client.get(batch["links"]["events"])
    document: dict[str, Any] = (await client.get(batch["links"]["self"])).json()
    return document


# --- submitting -----------------------------------------------------------------------------------------------------


async def test_many_calls_are_answered_202_with_a_batch(make: MakeService) -> None:
    service = make()
    async with service.lane.open(), open_client(service) as client:
        answer = await client.post("/many/echo", json=texts(25))
        document = answer.json()
        here = f"/batches/{document['id']}"
        assert (answer.status_code, answer.headers["Location"]) == (202, here)
        assert answer.headers["Content-Type"] == "application/json"
        assert int(answer.headers["Retry-After"]) == 3
        assert (document["state"], document["sealed"], document["refused"]) == ("running", True, [])
        assert document["counts"] == {"total": 25, "unfinished": 25, "succeeded": 0, "failed": 0, "cancelled": 0}
        links = document["links"]
        assert links["self"] == here
        assert links["events"].startswith(f"{here}/events/")
        assert (links["jobs"], links["cancel"]) == (f"{here}/jobs", f"{here}/cancel")
        status = await client.get(here)
        assert status.headers["Retry-After"] == "3"


async def test_batch_ends_when_its_last_job_ends(client: httpx2.AsyncClient) -> None:
    document = await wait_until_ended(client, (await client.post("/many/echo", json=texts(5))).json())
    assert (document["state"], document["counts"]["succeeded"], document["links"]["cancel"]) == ("succeeded", 5, None)
    assert document["ended"] is not None
    jobs = (await client.get(document["links"]["jobs"])).json()["jobs"]
    results = [(await client.get(job["links"]["result"])).json() for job in jobs]
    assert results == [f"text {number}" for number in reversed(range(5))]
    assert "Retry-After" not in (await client.get(document["links"]["self"])).headers


async def test_batch_with_a_failed_job_fails(client: httpx2.AsyncClient) -> None:
    document = await wait_until_ended(client, (await client.post("/many/broken", json=[{}, {}])).json())
    assert (document["state"], document["counts"]["failed"]) == ("failed", 2)


async def test_end_of_a_batch_submits_its_follow_up_jobs(client: httpx2.AsyncClient, service: Service) -> None:
    batch = (await client.post("/many/talk?then=echo", json=[{"words": 1}, {"words": 2}])).json()
    await wait_until_ended(client, batch)
    (follow_up,) = await service.lane.client.find(Query(task="echo", user="ann"))
    assert (follow_up.spec.batch, (await service.lane.client.wait(follow_up.id, 5)).state) == (None, "succeeded")


async def test_each_job_of_a_batch_has_the_traceparent_of_its_request(make: MakeService) -> None:
    service = make()
    async with service.lane.open(), open_client(service) as client:
        await client.post("/many/echo", json=texts(2), headers={"traceparent": TRACE})
        assert [record.spec.trace for record in await service.lane.client.find(Query())] == [TRACE, TRACE]


async def test_batch_without_calls_has_ended(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/many/echo", json=[])
    assert (answer.status_code, answer.json()["state"], answer.json()["counts"]["total"]) == (202, "succeeded", 0)


async def test_batch_lists_the_calls_that_a_limit_refused(client: httpx2.AsyncClient, service: Service) -> None:
    answer = await client.post("/many/one", json=[{}, {}, {}])
    document = answer.json()
    assert (answer.status_code, document["counts"]["total"]) == (202, 1)
    assert [refused["index"] for refused in document["refused"]] == [1, 2]
    for refused in document["refused"]:
        assert (refused["problem"]["status"], refused["problem"]["violated-policies"]) == (429, ["chat-per-user"])
    service.pace.allow()
    assert (await wait_until_ended(client, document))["state"] == "succeeded"


async def test_batch_of_refused_calls_only_is_answered_with_the_first_problem(
    client: httpx2.AsyncClient, service: Service
) -> None:
    first = (await client.post("/do/one")).json()
    key = {"Idempotency-Key": "k"}
    refused = await client.post("/many/one", json=[{}, {}], headers=key)
    assert (refused.status_code, refused.headers["Content-Type"]) == (429, PROBLEM)
    assert refused.headers["RateLimit"] == '"chat-per-user";r=0'
    service.pace.allow(2)
    await client.get(first["links"]["events"])  # to its end
    again = await client.post("/many/one", json=[{}, {}], headers=key)
    assert (again.status_code, again.json()["counts"]["total"]) == (202, 1)


async def test_invalid_arguments_are_422_and_submit_no_batch(client: httpx2.AsyncClient, service: Service) -> None:
    answer = await client.post("/many/talk", json=[{"words": 1}, {"words": "many"}])
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, PROBLEM)
    assert await service.lane.client.find(Query()) == []


async def test_nothing_is_submitted_if_the_batch_routes_are_missing(service: Service) -> None:
    jobs, app = Jobs(service.lane, user=current_user), FastAPI()
    app.include_router(jobs.router, prefix="/jobs")

    @app.post("/many")
    async def many(respond: Responder = Depends(jobs.respond)) -> Response:
        return await respond.many([service.tasks["echo"].call()])

    transport = httpx2.ASGITransport(app=app)
    async with (
        service.lane.open(),
        httpx2.AsyncClient(transport=transport, base_url="http://test", headers={"X-User": "ann"}) as client,
    ):
        assert (await client.post("/many")).status_code == 500
        assert await service.lane.client.find(Query()) == []


# --- Idempotency-Key ------------------------------------------------------------------------------------------------


async def test_repeat_with_the_same_key_and_calls_returns_the_same_batch(
    client: httpx2.AsyncClient, service: Service
) -> None:
    key = {"Idempotency-Key": "k"}
    answers = await asyncio.gather(*(client.post("/many/echo", json=texts(3), headers=key) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert [answer.json()["refused"] for answer in answers] == [[]] * 4
    await wait_until_ended(client, answers[0].json())
    late = await client.post("/many/echo", json=texts(3), headers=key)
    assert (late.status_code, late.json()["state"], late.json()["counts"]["total"]) == (202, "succeeded", 3)
    assert len(await service.lane.client.find(Query())) == 3


@pytest.mark.parametrize("other", [[], texts(2), texts(4), [*texts(2), {"text": "other"}]])
async def test_repeat_with_the_same_key_and_other_calls_is_422(
    client: httpx2.AsyncClient, service: Service, other: list[dict[str, Any]]
) -> None:
    key = {"Idempotency-Key": "k"}
    await client.post("/many/echo", json=texts(3), headers=key)
    answer = await client.post("/many/echo", json=other, headers=key)
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, PROBLEM)
    assert "Idempotency-Key" in answer.json()["detail"]
    assert len(await service.lane.client.find(Query())) == 3


async def test_same_key_of_two_users_is_two_submits(client: httpx2.AsyncClient) -> None:
    headers = [{"Idempotency-Key": "k", "X-User": user} for user in ("ann", "bob")]
    batches = [(await client.post("/many/echo", json=texts(1), headers=each)).json() for each in headers]
    assert batches[0]["id"] != batches[1]["id"]


async def test_job_and_batch_may_use_the_same_key(client: httpx2.AsyncClient) -> None:
    key = {"Idempotency-Key": "k"}
    one = await client.post("/do/echo", json={"text": "text 0"}, headers=key)
    many = await client.post("/many/echo", json=texts(1), headers=key)
    assert (one.status_code, many.status_code, many.json()["counts"]["total"]) == (202, 202, 1)


@pytest.mark.parametrize(("key", "user", "status"), [('""', "ann", 400), ("x" * 256, "ann", 400), ("k", None, 403)])
async def test_invalid_key_or_missing_user_is_refused(
    service: Service, key: str, user: str | None, status: int
) -> None:
    async with service.lane.open(), open_client(service, user) as client:
        answer = await client.post("/many/echo", json=texts(1), headers={"Idempotency-Key": key})
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, PROBLEM)
        assert await service.lane.client.find(Query()) == []


# --- events ---------------------------------------------------------------------------------------------------------


async def test_batch_stream_sends_every_change_and_the_end(server: Server, service: Service) -> None:
    batch = (await server.client.post("/many/held", json=[{}, {}])).json()
    async with server.stream(batch["links"]["events"]) as stream:
        (first,) = await stream.until("batch")
        assert (first.data["state"], first.data["counts"]["unfinished"]) == ("running", 2)
        service.pace.allow()
        (second,) = await stream.until("batch")
        assert (second.data["state"], second.data["counts"]["succeeded"]) == ("running", 1)
        service.pace.allow()
        last, end = await stream.rest()
        assert (last.event, last.data["state"], last.data["counts"]["succeeded"]) == ("batch", "succeeded", 2)
        assert (end.event, end.data) == ("end", {"id": batch["id"], "state": "succeeded"})
        for frame in (first, second, last, end):
            assert frame.id is None
            jsonschema.validate(frame.data, event_schemas()[frame.event])


async def test_stream_of_a_finished_batch_is_the_batch_and_its_end(client: httpx2.AsyncClient) -> None:
    batch = (await client.post("/many/echo", json=texts(1))).json()
    await wait_until_ended(client, batch)
    answer = await client.get(batch["links"]["events"])
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.headers["Location"] == batch["links"]["self"]
    frames = frames_of(answer.text)
    assert frames[0].retry is not None
    assert [frame.event for frame in frames[1:]] == ["batch", "end"]


async def test_silent_batch_stream_sends_pings(make: MakeService) -> None:
    service = make(sse_ping_interval=0.05)
    async with service.lane.open(), open_client(service) as client:
        batch = (await client.post("/many/held", json=[{}])).json()
        streaming = asyncio.create_task(client.get(batch["links"]["events"]))
        await asyncio.sleep(0.5)  # silence has no event
        await client.post(batch["links"]["cancel"])
        frames = frames_of((await streaming).text)
    assert [frame.comment for frame in frames[2:4]] == ["ping", "ping"]
    assert [frame.event for frame in frames[-2:]] == ["batch", "end"]


# --- cancelling -----------------------------------------------------------------------------------------------------


async def test_cancelling_a_batch_cancels_its_unfinished_jobs(make: MakeService) -> None:
    service = make(concurrency=1)
    async with service.lane.open(workers=1), open_client(service) as client:
        batch = (await client.post("/many/held", json=[{}, {}, {}])).json()
        service.pace.allow()
        async with asyncio.timeout(5):
            while not (await client.get(batch["links"]["self"])).json()["counts"]["succeeded"]:
                await asyncio.sleep(0.01)  # the first job that ends
        answer = await client.post(batch["links"]["cancel"])
        assert answer.status_code == 200
        document = await wait_until_ended(client, batch)
        assert document["state"] == "failed"
        assert document["counts"] == {"total": 3, "unfinished": 0, "succeeded": 1, "failed": 0, "cancelled": 2}
        again = await client.post(batch["links"]["cancel"])
        assert (again.status_code, again.json()["state"]) == (200, "failed")


# --- the jobs of a batch ----------------------------------------------------------------------------------------------


async def test_jobs_of_other_users_in_a_batch_are_not_listed(make: MakeService) -> None:
    service = make()
    echo: Any = service.tasks["echo"]
    async with service.lane.open(), open_client(service) as client:
        calls = [echo.options(user=user).call() for user in ("ann", "bob", None)]
        batch = await service.lane.submit_many(calls, user="ann")
        seen = (await client.get(f"/batches/{batch.id}/jobs")).json()["jobs"]
    ours = [batch.jobs[index] for index in (2, 0)]
    assert [job["id"] for job in seen] == [job.id for job in ours if job is not None]


async def test_jobs_of_a_batch_are_listed_in_pages_newest_first(make: MakeService) -> None:
    service = make()
    async with service.lane.open(), open_client(service) as client:
        await client.post("/do/echo")  # not of the batch
        page: str | None = (await client.post("/many/echo", json=texts(120))).json()["links"]["jobs"]
        sizes, found = [], []
        while page:
            answer = (await client.get(page)).json()
            sizes.append(len(answer["jobs"]))
            found += [job["id"] for job in answer["jobs"]]
            page = answer["next"]
        records = await service.lane.client.store.get(found)
    assert sizes == [50, 50, 20]
    assert len(set(found)) == 120
    numbers = [int(record.spec.arguments.split("text ")[1].rstrip('"}')) for record in records if record]  # type: ignore[union-attr]
    assert numbers == list(reversed(range(120)))


@pytest.mark.parametrize("before", ["x", "-1", "99999999999999999999999"])
async def test_invalid_page_offset_is_422(client: httpx2.AsyncClient, before: str) -> None:
    batch = (await client.post("/many/echo", json=texts(1))).json()
    answer = await client.get(batch["links"]["jobs"], params={"before": before})
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, PROBLEM)


# --- access ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("GET", "/jobs"), ("GET", "/events"), ("POST", "/cancel")])
async def test_batch_of_another_user_is_404(client: httpx2.AsyncClient, method: str, tail: str) -> None:
    batch = (await client.post("/many/held", json=[{}])).json()
    unknown = await client.request(method, f"/batches/00ff{tail}")
    assert unknown.status_code == 404
    for user in ("bob", ""):
        answer = await client.request(method, f"/batches/{batch['id']}{tail}", headers={"X-User": user})
        assert (answer.status_code, answer.headers["Content-Type"]) == (404, PROBLEM)
        assert answer.text == unknown.text.replace("00ff", batch["id"])
    assert (await client.get(batch["links"]["self"])).json()["counts"]["unfinished"] == 1


async def test_token_gives_access_only_to_the_events_of_its_batch(client: httpx2.AsyncClient) -> None:
    batch, other = [(await client.post("/many/echo", json=texts(1))).json() for _ in range(2)]
    job = (await client.get(batch["links"]["jobs"])).json()["jobs"][0]
    token = batch["links"]["events"].rpartition("/")[2]
    of_job = job["links"]["events"].rpartition("/")[2]
    nobody = {"X-User": ""}
    assert (await client.get(batch["links"]["events"], headers=nobody)).status_code == 200
    for path in (
        f"{other['links']['self']}/events/{token}",
        f"{batch['links']['self']}/events/{of_job}",
        f"{batch['links']['self']}/events/x",
        f"{job['links']['self']}/events/{token}",
        f"{batch['links']['self']}?token={token}",
    ):
        answer = await client.get(path, headers=nobody)
        assert (answer.status_code, answer.headers["Content-Type"]) == (404, PROBLEM)


async def test_batch_without_a_user_is_403(service: Service) -> None:
    async with service.lane.open(), open_client(service, None) as client:
        assert (await client.post("/many/echo", json=texts(1))).status_code == 403
        assert await service.lane.client.find(Query()) == []


async def test_without_users_the_id_gives_access_to_a_batch(make: MakeService) -> None:
    service = make(without_users=True)
    async with service.lane.open(workers=1), open_client(service, None) as client:
        batch = (await client.post("/many/echo", json=texts(2))).json()
        assert batch["links"]["events"] == f"/batches/{batch['id']}/events"
        assert (await wait_until_ended(client, batch))["counts"]["succeeded"] == 2
        assert len((await client.get(batch["links"]["jobs"])).json()["jobs"]) == 2
