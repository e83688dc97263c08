"""Idempotency-Key: one key of one user is one job, however often the request is repeated."""

import asyncio

import httpx2
import pytest

from sidelane.model.job import Query
from tests.web.clients import EVENT_STREAM, frames_of
from tests.web.conftest import MakeService, open_client
from tests.web.service import Service


async def post(client: httpx2.AsyncClient, key: str, text: str = "hi", user: str = "ann") -> httpx2.Response:
    return await client.post("/do/echo", json={"text": text}, headers={"Idempotency-Key": key, "X-User": user})


async def test_repeat_with_the_same_key_and_payload_returns_the_same_job(
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


async def test_quoted_and_bare_keys_are_the_same(client: httpx2.AsyncClient) -> None:
    quoted, bare = await post(client, '"k 1"'), await post(client, "k 1")
    assert quoted.json()["id"] == bare.json()["id"]


async def test_repeat_with_the_same_key_and_another_payload_is_422(
    client: httpx2.AsyncClient, service: Service
) -> None:
    await post(client, "k", "hi")
    answer = await post(client, "k", "ho")
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
    assert "Idempotency-Key" in answer.json()["detail"]
    assert len(await service.lane.client.find(Query())) == 1


async def test_same_key_of_two_users_is_two_submits(client: httpx2.AsyncClient) -> None:
    ann, bob = await post(client, "k", user="ann"), await post(client, "k", "other", user="bob")
    assert (ann.status_code, bob.status_code) == (202, 202)
    assert ann.json()["id"] != bob.json()["id"]


async def test_user_and_key_are_not_confused_when_concatenated(client: httpx2.AsyncClient) -> None:
    ids = {
        (await post(client, key, user=user)).json()["id"] for user, key in [("ab", "c"), ("a", "bc"), ("abc", "echo")]
    }
    assert len(ids) == 3


async def test_repeat_may_ask_for_a_stream(client: httpx2.AsyncClient) -> None:
    headers = {**EVENT_STREAM, "Idempotency-Key": "k"}
    first, again = [await client.post("/do/talk", json={"words": 3}, headers=headers) for _ in range(2)]
    assert [frame for frame in frames_of(first.text) if frame.id] == [
        frame for frame in frames_of(again.text) if frame.id
    ]


async def test_repeat_may_wait_for_the_result(client: httpx2.AsyncClient) -> None:
    await post(client, "k")
    answer = await client.post("/do/echo", json={"text": "hi"}, headers={"Idempotency-Key": "k", "Prefer": "wait=10"})
    assert (answer.status_code, answer.json()) == (200, "hi")


@pytest.mark.parametrize("key", ["", '""', "x" * 256, '"' + "x" * 256 + '"'])
async def test_empty_or_too_long_key_is_400(client: httpx2.AsyncClient, service: Service, key: str) -> None:
    answer = await post(client, key)
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert len(await service.lane.client.find(Query())) == 0


async def test_key_of_255_characters_is_accepted(client: httpx2.AsyncClient) -> None:
    assert (await post(client, "x" * 255)).status_code == 202


@pytest.mark.parametrize("without_users", [True, False])
async def test_key_without_a_user_is_refused(make: MakeService, without_users: bool) -> None:
    service = make(without_users=without_users)
    async with service.lane.open(), open_client(service, user=None) as client:
        answer = await client.post("/do/echo", headers={"Idempotency-Key": "k"})
        status = 400 if without_users else 403
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
        assert "user" in answer.json()["detail"]
        assert len(await service.lane.client.find(Query())) == 0


async def test_repeat_with_the_same_key_on_another_task_is_422(client: httpx2.AsyncClient, service: Service) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await client.post("/do/echo", headers=headers)
    other = await client.post("/do/held", headers=headers)
    assert (first.status_code, other.status_code) == (202, 422)
    assert len(await service.lane.client.find(Query())) == 1


async def test_id_chosen_by_the_endpoint_takes_precedence_over_the_key(
    client: httpx2.AsyncClient, service: Service
) -> None:
    for key in ("k", "k", "other"):
        answer = await client.post("/do/echo?chosen=mine", headers={"Idempotency-Key": key})
        assert (answer.status_code, answer.json()["id"]) == (202, "mine")
    assert len(await service.lane.client.find(Query())) == 1
