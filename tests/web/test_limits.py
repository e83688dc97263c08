"""Limits over HTTP: `reject` is a 429 with its reason and Retry-After, `wait` blocks the job, `replace` cancels the older one."""

import asyncio
from typing import Any

import httpx2
import pytest

from sidelane.admin.limits import LimitChange, change_limit
from sidelane.model.job import Query
from tests.web.clients import EVENT_STREAM, Server, frames_of
from tests.web.conftest import BOTH_STORES, MakeService, open_client
from tests.web.service import Service

PROBLEM = "application/problem+json"
PROBLEM_TYPES = "https://iana.org/assignments/http-problem-types"

pytestmark = BOTH_STORES


async def wait_until_blocked(client: httpx2.AsyncClient, job: dict[str, Any]) -> dict[str, Any]:
    """Wait until a job is blocked on a limit and return its document."""
    async with asyncio.timeout(5):
        while not (document := (await client.get(job["links"]["self"])).json())["waiting_for_limit"]:
            await asyncio.sleep(0.005)  # a claim that blocks a job has no event
    assert isinstance(document, dict)
    return document


# --- reject ---------------------------------------------------------------------------------------------------------


async def test_second_request_of_a_user_is_429_until_the_first_job_ends(
    client: httpx2.AsyncClient, service: Service
) -> None:
    first = await client.post("/do/one")
    second = await client.post("/do/one")
    other = await client.post("/do/one", headers={"X-User": "bob"})
    assert (first.status_code, second.status_code, other.status_code) == (202, 429, 202)
    assert second.headers["Content-Type"] == PROBLEM
    assert second.headers["RateLimit-Policy"] == '"chat-per-user";q=1;qu="concurrent-requests"'
    assert second.headers["RateLimit"] == '"chat-per-user";r=0'
    assert second.headers["Retry-After"] == "5"
    problem = second.json()
    assert problem["type"] == f"{PROBLEM_TYPES}#quota-exceeded"
    assert (problem["status"], problem["violated-policies"]) == (429, ["chat-per-user"])
    assert "chat-per-user" in problem["detail"]
    assert "ann" not in second.text + str(second.headers)
    service.pace.allow(2)
    await client.get(first.json()["links"]["events"])  # to its end
    assert (await client.post("/do/one")).status_code == 202


@pytest.mark.parametrize("headers", [EVENT_STREAM, {"Prefer": "wait=10"}])
async def test_refusal_is_a_problem_whatever_answer_was_asked_for(
    client: httpx2.AsyncClient, service: Service, headers: dict[str, str]
) -> None:
    await client.post("/do/one")
    answer = await client.post("/do/one", headers=headers)
    assert (answer.status_code, answer.headers["Content-Type"]) == (429, PROBLEM)
    assert answer.headers["RateLimit"] == '"chat-per-user";r=0'
    assert len(await service.lane.client.find(Query())) == 1


async def test_refusal_has_the_message_of_its_limit_in_readable_text(client: httpx2.AsyncClient) -> None:
    await client.post("/do/worded")
    refused = await client.post("/do/worded")
    assert (refused.status_code, refused.json()["detail"]) == (429, "이미 처리 중인 요청이 있습니다.")
    assert "이미 처리 중인 요청이 있습니다." in refused.text
    assert refused.headers["RateLimit"] == '"worded";r=0'


async def test_limit_may_count_by_arguments(client: httpx2.AsyncClient) -> None:
    symbols = ("005930", "005930", "000660")
    answers = [await client.post("/do/stock", json={"symbol": symbol}) for symbol in symbols]
    assert [answer.status_code for answer in answers] == [202, 429, 202]
    assert answers[1].json()["violated-policies"] == ["chat-per-stock"]
    assert "005930" not in answers[1].text + str(answers[1].headers)


async def test_rate_limit_says_when_the_next_job_is_admitted(client: httpx2.AsyncClient) -> None:
    answers = [await client.post("/do/rated") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert answers[2].headers["RateLimit-Policy"] == '"per-minute";q=2;w=60'
    after = int(answers[2].headers["Retry-After"])
    assert after in range(20, 31)  # it was 30 at the first of the three
    assert answers[2].headers["RateLimit"] == f'"per-minute";r=0;t={after}'
    assert (await client.post("/do/rated", headers={"X-User": "bob"})).status_code == 202


async def test_refusal_says_the_numbers_in_force(client: httpx2.AsyncClient, service: Service) -> None:
    store = service.lane.client.store
    await change_limit(store, "two-per-user", LimitChange(number="1"))
    await change_limit(store, "per-minute", LimitChange(number="1/hour"))
    answers = [await client.post("/do/both") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 429]
    policy = '"two-per-user";q=1;qu="concurrent-requests", "per-minute";q=1;w=3600'
    assert answers[1].headers["RateLimit-Policy"] == policy
    assert "1 job is unfinished" in answers[1].json()["detail"]
    assert "admits 1 per 3600 s" in answers[1].json()["detail"]


async def test_refusal_names_every_limit_that_was_reached(client: httpx2.AsyncClient) -> None:
    answers = [await client.post("/do/both") for _ in range(3)]
    refused = answers[2]
    assert (refused.status_code, refused.json()["violated-policies"]) == (429, ["two-per-user", "per-minute"])
    assert refused.headers["RateLimit-Policy"] == '"two-per-user";q=2;qu="concurrent-requests", "per-minute";q=2;w=60'
    after = refused.headers["Retry-After"]  # the largest `t`
    assert refused.headers["RateLimit"] == f'"two-per-user";r=0, "per-minute";r=0;t={after}'


async def test_endpoint_without_a_responder_gets_the_same_refusal(client: httpx2.AsyncClient, service: Service) -> None:
    @service.app.post("/submit")
    async def submit() -> str:
        return (await service.tasks["one"].options(user="ann").submit()).id  # type: ignore[no-any-return]

    await client.post("/submit")
    refused, expected = await client.post("/submit"), await client.post("/do/one")
    assert (refused.status_code, refused.headers, refused.text) == (429, expected.headers, expected.text)


# --- Idempotency-Key ------------------------------------------------------------------------------------------------


async def test_repeat_with_the_same_key_is_not_refused_by_its_own_slot(make: MakeService) -> None:
    service = make()
    async with service.lane.open(), open_client(service) as client:
        first, again = [await client.post("/do/one", headers={"Idempotency-Key": "k"}) for _ in range(2)]
        other = await client.post("/do/one", headers={"Idempotency-Key": "other"})
    assert (first.status_code, again.status_code, other.status_code) == (202, 202, 429)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers == first.headers


async def test_key_with_another_payload_is_422_even_if_a_limit_is_reached(client: httpx2.AsyncClient) -> None:
    key = {"Idempotency-Key": "k"}
    first = await client.post("/do/stock", json={"symbol": "005930"}, headers=key)
    await client.post("/do/stock", json={"symbol": "000660"})
    answers = [
        await client.post("/do/stock", json={"symbol": symbol}, headers=key) for symbol in ("000660", "1", "005930")
    ]
    assert [answer.status_code for answer in answers] == [422, 422, 202]
    assert answers[2].json()["id"] == first.json()["id"]


async def test_key_of_a_refused_request_may_be_used_again(client: httpx2.AsyncClient, service: Service) -> None:
    first = (await client.post("/do/one")).json()
    assert (await client.post("/do/one", headers={"Idempotency-Key": "k"})).status_code == 429
    service.pace.allow()
    await client.get(first["links"]["events"])  # to its end
    assert (await client.post("/do/one", headers={"Idempotency-Key": "k"})).status_code == 202


# --- replace --------------------------------------------------------------------------------------------------------


async def test_replacing_job_ends_the_stream_of_the_older_job_and_runs(server: Server, service: Service) -> None:
    async with server.stream("/do/newest", "POST", json={"words": 5}) as older:
        service.pace.allow()
        await older.until("token")
        async with server.stream("/do/newest", "POST", json={"words": 1}) as newer:
            (job,) = await newer.until("job")
            assert job.data["state"] == "queued"
            (*_, end) = await older.rest()
            assert (end.event, end.data["state"]) == ("end", "cancelled")
            service.pace.allow()
            token, end = await newer.rest()
            assert (token.data["text"], end.data["state"]) == ("word0 ", "succeeded")


# --- wait -----------------------------------------------------------------------------------------------------------


async def test_blocked_job_names_the_limit_it_waits_for(client: httpx2.AsyncClient, service: Service) -> None:
    first = (await client.post("/do/patient")).json()
    await service.pace.running.wait()
    second = await client.post("/do/patient")
    assert (second.status_code, second.json()["state"]) == (202, "queued")
    document = await wait_until_blocked(client, second.json())
    assert (document["state"], document["waiting_for_limit"], document["position"]) == ("queued", "one-at-a-time", None)
    assert "ann" not in str(document)
    service.pace.allow()
    await client.get(first["links"]["events"])  # to its end
    service.pace.allow()
    stream = await client.get(second.json()["links"]["events"])
    assert frames_of(stream.text)[-1].data["result"] == "done"
    assert (await client.get(second.json()["links"]["self"])).json()["waiting_for_limit"] is None


async def test_stream_of_a_blocked_job_begins_with_the_limit_it_waits_for(server: Server, service: Service) -> None:
    await server.client.post("/do/patient")
    await service.pace.running.wait()
    second = (await server.client.post("/do/patient")).json()
    await wait_until_blocked(server.client, second)
    async with server.stream(second["links"]["events"]) as stream:
        (job,) = await stream.until("job")
        assert (job.data["state"], job.data["waiting_for_limit"]) == ("queued", "one-at-a-time")


async def test_request_that_waited_for_a_blocked_job_is_answered_202(
    client: httpx2.AsyncClient, service: Service
) -> None:
    await client.post("/do/patient")
    await service.pace.running.wait()
    answer = await client.post("/do/patient", headers={"Prefer": "wait=0.3"})
    assert (answer.status_code, answer.json()["state"], answer.json()["waiting_for_limit"]) == (
        202,
        "queued",
        "one-at-a-time",
    )


# --- full queue -----------------------------------------------------------------------------------------------------


async def test_full_queue_is_503_with_retry_after(make: MakeService) -> None:
    service = make()
    async with service.lane.open(), open_client(service) as client:
        taken = [await client.post("/do/queued", headers={"Idempotency-Key": key}) for key in "ab"]
        full = await client.post("/do/queued", headers=EVENT_STREAM)
        again = await client.post("/do/queued", headers={"Idempotency-Key": "a"})
        elsewhere = await client.post("/do/echo")
    assert [answer.status_code for answer in (*taken, full, again, elsewhere)] == [202, 202, 503, 202, 202]
    assert full.headers["Content-Type"] == PROBLEM
    assert full.headers["Retry-After"] == "600"  # there is no worker, so the throughput is unknown
    assert "RateLimit" not in full.headers
    problem = full.json()
    assert (problem["type"], problem["title"]) == (f"{PROBLEM_TYPES}#temporary-reduced-capacity", "Queue full")
    assert "The queue 'small' is full with 2 waiting jobs" in problem["detail"]


# --- Retry-After ----------------------------------------------------------------------------------------------------


async def test_job_behind_others_has_an_estimated_wait(make: MakeService) -> None:
    service = make(concurrency=1)
    async with service.lane.open(workers=1), open_client(service) as client:
        await client.post("/do/held")
        await service.pace.running.wait()
        await client.post("/do/held")
        answer = await client.post("/do/held")
    document = answer.json()
    assert (document["position"], document["waiting_for_limit"]) == (1, None)
    assert document["estimated_wait"] > 0
    assert int(answer.headers["Retry-After"]) <= 30
