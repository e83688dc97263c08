"""What a client meets at a limit: a refusal that says why and when to come back, its turn, or the place of its older job."""

import asyncio
from typing import Any

import httpx2
import pytest

from sidelane.model.job import Query
from tests.web.clients import EVENT_STREAM, Server, frames_of
from tests.web.conftest import BOTH_STORES, MakeService, called
from tests.web.service import Service

PROBLEM = "application/problem+json"
PROBLEM_TYPES = "https://iana.org/assignments/http-problem-types"

pytestmark = BOTH_STORES


async def parked(client: httpx2.AsyncClient, job: dict[str, Any]) -> dict[str, Any]:
    """Wait until a job is parked and give its document."""
    async with asyncio.timeout(5):
        while not (document := (await client.get(job["links"]["self"])).json())["waiting_for_limit"]:
            await asyncio.sleep(0.005)  # that a job is set aside at a claim has no event
    assert isinstance(document, dict)
    return document


# --- reject ---------------------------------------------------------------------------------------------------------


async def test_the_second_tab_of_a_user_is_refused_until_the_first_has_its_answer(
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


@pytest.mark.parametrize("asking", [EVENT_STREAM, {"Prefer": "wait=10"}])
async def test_whatever_kind_of_answer_was_asked_for_a_refusal_is_a_problem(
    client: httpx2.AsyncClient, service: Service, asking: dict[str, str]
) -> None:
    await client.post("/do/one")
    answer = await client.post("/do/one", headers=asking)
    assert (answer.status_code, answer.headers["Content-Type"]) == (429, PROBLEM)
    assert answer.headers["RateLimit"] == '"chat-per-user";r=0'
    assert len(await service.lane.client.find(Query())) == 1


async def test_a_limit_may_count_by_the_arguments(client: httpx2.AsyncClient) -> None:
    symbols = ("005930", "005930", "000660")
    answers = [await client.post("/do/stock", json={"symbol": symbol}) for symbol in symbols]
    assert [answer.status_code for answer in answers] == [202, 429, 202]
    assert answers[1].json()["violated-policies"] == ["chat-per-stock"]
    assert "005930" not in answers[1].text + str(answers[1].headers)


async def test_a_rate_says_when_the_next_may_come(client: httpx2.AsyncClient) -> None:
    answers = [await client.post("/do/rated") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert answers[2].headers["RateLimit-Policy"] == '"per-minute";q=2;w=60'
    after = int(answers[2].headers["Retry-After"])
    assert after in range(20, 31)  # it was 30 at the first of the three
    assert answers[2].headers["RateLimit"] == f'"per-minute";r=0;t={after}'
    assert (await client.post("/do/rated", headers={"X-User": "bob"})).status_code == 202


async def test_every_limit_that_is_reached_is_named(client: httpx2.AsyncClient) -> None:
    answers = [await client.post("/do/both") for _ in range(3)]
    refused = answers[2]
    assert (refused.status_code, refused.json()["violated-policies"]) == (429, ["two-per-user", "per-minute"])
    assert refused.headers["RateLimit-Policy"] == '"two-per-user";q=2;qu="concurrent-requests", "per-minute";q=2;w=60'
    after = refused.headers["Retry-After"]  # the longest of them
    assert refused.headers["RateLimit"] == f'"two-per-user";r=0, "per-minute";r=0;t={after}'


async def test_an_endpoint_that_submits_by_itself_is_refused_in_the_same_words(
    client: httpx2.AsyncClient, service: Service
) -> None:
    @service.app.post("/own")
    async def own() -> str:
        return (await service.tasks["one"].options(user="ann").submit()).id  # type: ignore[no-any-return]

    await client.post("/own")
    refused, expected = await client.post("/own"), await client.post("/do/one")
    assert (refused.status_code, refused.headers, refused.text) == (429, expected.headers, expected.text)


# --- Idempotency-Key ------------------------------------------------------------------------------------------------


async def test_a_replay_never_meets_the_slot_of_its_own_job(make: MakeService) -> None:
    service = make()
    async with service.lane.open(), called(service) as client:
        first, again = [await client.post("/do/one", headers={"Idempotency-Key": "k"}) for _ in range(2)]
        other = await client.post("/do/one", headers={"Idempotency-Key": "other"})
    assert (first.status_code, again.status_code, other.status_code) == (202, 202, 429)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers == first.headers


async def test_a_key_with_another_payload_is_a_mistake_whether_or_not_there_is_room(client: httpx2.AsyncClient) -> None:
    key = {"Idempotency-Key": "k"}
    first = await client.post("/do/stock", json={"symbol": "005930"}, headers=key)
    await client.post("/do/stock", json={"symbol": "000660"})
    answers = [
        await client.post("/do/stock", json={"symbol": symbol}, headers=key) for symbol in ("000660", "1", "005930")
    ]
    assert [answer.status_code for answer in answers] == [422, 422, 202]
    assert answers[2].json()["id"] == first.json()["id"]


async def test_a_key_that_was_refused_is_good_for_another_try(client: httpx2.AsyncClient, service: Service) -> None:
    first = (await client.post("/do/one")).json()
    assert (await client.post("/do/one", headers={"Idempotency-Key": "k"})).status_code == 429
    service.pace.allow()
    await client.get(first["links"]["events"])  # to its end
    assert (await client.post("/do/one", headers={"Idempotency-Key": "k"})).status_code == 202


# --- replace --------------------------------------------------------------------------------------------------------


async def test_a_newer_job_ends_the_stream_of_the_older_and_runs(server: Server, service: Service) -> None:
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


async def test_a_job_that_waits_for_its_turn_says_at_which_limit(client: httpx2.AsyncClient, service: Service) -> None:
    first = (await client.post("/do/patient")).json()
    await service.pace.running.wait()
    second = await client.post("/do/patient")
    assert (second.status_code, second.json()["state"]) == (202, "queued")
    document = await parked(client, second.json())
    assert (document["state"], document["waiting_for_limit"], document["position"]) == ("queued", "in-turn", None)
    assert "ann" not in str(document)
    service.pace.allow()
    await client.get(first["links"]["events"])  # to its end
    service.pace.allow()
    stream = await client.get(second.json()["links"]["events"])
    assert frames_of(stream.text)[-1].data["result"] == "done"
    assert (await client.get(second.json()["links"]["self"])).json()["waiting_for_limit"] is None


async def test_a_stream_begins_with_the_limit_its_job_waits_at(server: Server, service: Service) -> None:
    await server.client.post("/do/patient")
    await service.pace.running.wait()
    second = (await server.client.post("/do/patient")).json()
    await parked(server.client, second)
    async with server.stream(second["links"]["events"]) as stream:
        (job,) = await stream.until("job")
        assert (job.data["state"], job.data["waiting_for_limit"]) == ("queued", "in-turn")


async def test_a_client_that_waits_no_longer_for_a_parked_job_gets_the_202(
    client: httpx2.AsyncClient, service: Service
) -> None:
    await client.post("/do/patient")
    await service.pace.running.wait()
    answer = await client.post("/do/patient", headers={"Prefer": "wait=0.3"})
    assert (answer.status_code, answer.json()["state"], answer.json()["waiting_for_limit"]) == (
        202,
        "queued",
        "in-turn",
    )


# --- a full queue ---------------------------------------------------------------------------------------------------


async def test_a_full_queue_takes_no_more_and_says_so(make: MakeService) -> None:
    service = make()
    async with service.lane.open(), called(service) as client:
        taken = [await client.post("/do/queued", headers={"Idempotency-Key": key}) for key in "ab"]
        full = await client.post("/do/queued", headers=EVENT_STREAM)
        again = await client.post("/do/queued", headers={"Idempotency-Key": "a"})
        elsewhere = await client.post("/do/echo")
    assert [answer.status_code for answer in (*taken, full, again, elsewhere)] == [202, 202, 503, 202, 202]
    assert full.headers["Content-Type"] == PROBLEM
    assert full.headers["Retry-After"] == "600"  # no worker, so that nobody can say
    assert "RateLimit" not in full.headers
    problem = full.json()
    assert (problem["type"], problem["title"]) == (f"{PROBLEM_TYPES}#temporary-reduced-capacity", "Queue full")
    assert "2 jobs wait in the queue 'small'" in problem["detail"]


# --- when to look again ---------------------------------------------------------------------------------------------


async def test_a_job_behind_others_says_how_long_it_may_wait(make: MakeService) -> None:
    service = make(concurrency=1)
    async with service.lane.open(workers=1), called(service) as client:
        await client.post("/do/held")
        await service.pace.running.wait()
        await client.post("/do/held")
        answer = await client.post("/do/held")
    document = answer.json()
    assert (document["position"], document["waiting_for_limit"]) == (1, None)
    assert document["estimated_wait"] > 0
    assert int(answer.headers["Retry-After"]) <= 30
