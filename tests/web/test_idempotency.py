"""An Idempotency-Key of one user is one job, however often the request comes."""

import asyncio

import httpx2
import pytest

from sidelane.model.job import Query
from tests.web.clients import EVENT_STREAM, frames_of
from tests.web.conftest import MakeService, called
from tests.web.service import Service


async def post(client: httpx2.AsyncClient, key: str, text: str = "hi", user: str = "ann") -> httpx2.Response:
    return await client.post("/do/echo", json={"text": text}, headers={"Idempotency-Key": key, "X-User": user})


async def test_the_same_key_and_payload_get_the_202_of_the_same_job(
    client: httpx2.AsyncClient, service: Service
) -> None:
    answers = await asyncio.gather(*(post(client, '"8e03978e"') for _ in range(5)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    await client.get(answers[0].json()["links"]["events"])  # to its end
    late = await post(client, '"8e03978e"')
    assert (late.status_code, late.json()["state"]) == (202, "succeeded")
    assert late.headers["Location"] == answers[0].headers["Location"]
    assert len(await service.lane.client.find(Query())) == 1


async def test_a_key_is_the_same_quoted_and_bare(client: httpx2.AsyncClient) -> None:
    quoted, bare = await post(client, '"k 1"'), await post(client, "k 1")
    assert quoted.json()["id"] == bare.json()["id"]


async def test_the_same_key_with_another_payload_is_refused(client: httpx2.AsyncClient, service: Service) -> None:
    await post(client, "k", "hi")
    answer = await post(client, "k", "ho")
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
    assert "Idempotency-Key" in answer.json()["detail"]
    assert len(await service.lane.client.find(Query())) == 1


async def test_a_key_belongs_to_its_user(client: httpx2.AsyncClient) -> None:
    ann, bob = await post(client, "k", user="ann"), await post(client, "k", "other", user="bob")
    assert (ann.status_code, bob.status_code) == (202, 202)
    assert ann.json()["id"] != bob.json()["id"]


async def test_two_users_and_keys_are_told_apart_where_their_names_run_together(client: httpx2.AsyncClient) -> None:
    ids = {
        (await post(client, key, user=user)).json()["id"] for user, key in [("ab", "c"), ("a", "bc"), ("abc", "echo")]
    }
    assert len(ids) == 3


async def test_a_replay_can_be_a_stream_too(client: httpx2.AsyncClient) -> None:
    headers = {**EVENT_STREAM, "Idempotency-Key": "k"}
    first, again = [await client.post("/do/talk", json={"words": 3}, headers=headers) for _ in range(2)]
    assert [frame for frame in frames_of(first.text) if frame.id] == [
        frame for frame in frames_of(again.text) if frame.id
    ]


async def test_a_replay_can_wait_for_the_result(client: httpx2.AsyncClient) -> None:
    await post(client, "k")
    answer = await client.post("/do/echo", json={"text": "hi"}, headers={"Idempotency-Key": "k", "Prefer": "wait=10"})
    assert (answer.status_code, answer.json()) == (200, "hi")


@pytest.mark.parametrize("key", ["", '""', "x" * 256, '"' + "x" * 256 + '"'])
async def test_a_key_that_is_empty_or_too_long_is_refused(
    client: httpx2.AsyncClient, service: Service, key: str
) -> None:
    answer = await post(client, key)
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert len(await service.lane.client.find(Query())) == 0


async def test_the_longest_key_is_taken(client: httpx2.AsyncClient) -> None:
    assert (await post(client, "x" * 255)).status_code == 202


@pytest.mark.parametrize("everyone", [True, False])
async def test_without_a_user_a_key_is_refused(make: MakeService, everyone: bool) -> None:
    service = make(open_to_everyone=everyone)
    async with service.lane.open(), called(service, user=None) as client:
        answer = await client.post("/do/echo", headers={"Idempotency-Key": "k"})
        status = 400 if everyone else 403
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
        assert "user" in answer.json()["detail"]
        assert len(await service.lane.client.find(Query())) == 0


async def test_the_same_key_on_another_task_is_refused(client: httpx2.AsyncClient, service: Service) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await client.post("/do/echo", headers=headers)
    other = await client.post("/do/held", headers=headers)
    assert (first.status_code, other.status_code) == (202, 422)
    assert len(await service.lane.client.find(Query())) == 1


async def test_an_id_that_the_endpoint_chose_wins(client: httpx2.AsyncClient, service: Service) -> None:
    for key in ("k", "k", "other"):
        answer = await client.post("/do/echo?chosen=mine", headers={"Idempotency-Key": key})
        assert (answer.status_code, answer.json()["id"]) == (202, "mine")
    assert len(await service.lane.client.find(Query())) == 1
