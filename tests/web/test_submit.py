"""Submits are answered 202 with links, or as the request's headers ask; a refused request submits nothing."""

import asyncio
from datetime import datetime
from typing import Any

import apsw
import httpx2
import pytest

from sidelane.client.client import Client
from sidelane.model.job import Query
from sidelane.web.documents import JobDocument
from sidelane.web.job_responses import retry_after
from tests.web.clients import Server, frames_of
from tests.web.conftest import MakeService, open_client
from tests.web.service import Service

PROBLEM = "application/problem+json"


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def count_jobs(client: Client) -> int:
    return len(await client.find(Query()))


async def test_submit_is_answered_202_with_links(make: MakeService) -> None:
    service = make()
    async with service.lane.open(), open_client(service) as client:
        answer = await client.post("/do/held")
    document = answer.json()
    here = f"/jobs/{document['id']}"
    assert answer.status_code == 202
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Location"] == here
    assert int(answer.headers["Retry-After"]) >= 1
    assert {part.strip() for part in answer.headers["Vary"].split(",")} == {"Accept", "Prefer"}
    assert document["state"] == "queued"
    assert (document["task"], document["attempt"], document["position"]) == ("held", 0, 0)
    assert datetime.fromisoformat(document["submitted"]).tzinfo is not None
    links = document["links"]
    assert links["self"] == here
    assert links["events"].startswith(f"{here}/events/")
    assert (links["result"], links["cancel"]) == (f"{here}/result", f"{here}/cancel")


@pytest.mark.parametrize(("sent", "kept"), [(TRACE, TRACE), ("00-made-up-01", None), (None, None)])
async def test_job_has_the_traceparent_of_its_request(
    client: httpx2.AsyncClient, service: Service, sent: str | None, kept: str | None
) -> None:
    answer = await client.post("/do/echo", headers={"traceparent": sent} if sent else {})
    assert (await service.lane.client.record(answer.json()["id"])).spec.trace == kept


async def test_every_link_works(client: httpx2.AsyncClient, service: Service) -> None:
    links = (await client.post("/do/echo", json={"text": "hi"})).json()["links"]
    assert (await client.get(links["events"])).text.count("event: end\n") == 1
    assert (await client.get(links["self"])).json()["state"] == "succeeded"
    assert (await client.get(links["result"])).json() == "hi"
    assert (await client.post(links["cancel"])).json()["state"] == "succeeded"


async def test_links_include_the_root_path(service: Service) -> None:
    transport = httpx2.ASGITransport(app=service.app, root_path="/api/v1")
    async with (
        service.lane.open(workers=1),
        httpx2.AsyncClient(transport=transport, base_url="http://test", headers={"X-User": "ann"}) as client,
    ):
        answer = await client.post("/api/v1/do/echo")
    assert answer.headers["Location"].startswith("/api/v1/jobs/")
    assert answer.json()["links"]["result"].startswith("/api/v1/jobs/")


async def test_position_and_retry_after_grow_with_the_jobs_ahead(make: MakeService) -> None:
    service = make()
    async with service.lane.open(), open_client(service) as client:
        first = await client.post("/do/echo")
        for _ in range(30):
            await client.post("/do/echo")
        last = await client.post("/do/echo")
    assert (first.json()["position"], last.json()["position"]) == (0, 31)
    assert int(first.headers["Retry-After"]) < int(last.headers["Retry-After"])


@pytest.mark.parametrize(
    ("wait", "position", "seconds"),
    [(0.0, 0, 1), (0.4, 3, 1), (12.3, 5, 13), (300.0, 5, 30), (None, 25, 3), (None, None, 1), (None, 1000, 30)],
)
def test_retry_after_is_about_when_the_job_may_start(wait: float | None, position: int | None, seconds: int) -> None:
    members: dict[str, Any] = {"estimated_wait": wait, "position": position}
    assert retry_after(JobDocument.model_construct(**members)) == seconds


async def test_has_worker_is_false_without_a_live_worker(make: MakeService) -> None:
    service = make()
    async with service.lane.open(), open_client(service) as client:
        answer = await client.post("/do/echo")
        assert answer.json()["has_worker"] is False
        assert (await client.get(answer.headers["Location"])).json()["has_worker"] is False


async def test_has_worker_is_true_with_a_live_worker(client: httpx2.AsyncClient) -> None:
    async with asyncio.timeout(5):
        while not (await client.post("/do/echo")).json()["has_worker"]:
            await asyncio.sleep(0.01)  # the worker's first heartbeat has no event


# --- Accept ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "accept",
    [
        "text/event-stream",
        "TEXT/Event-Stream; charset=utf-8",
        "application/json;q=0.5, text/event-stream",
        "text/event-stream, */*;q=0.1",
    ],
)
async def test_client_that_prefers_an_event_stream_gets_it(client: httpx2.AsyncClient, accept: str) -> None:
    answer = await client.post("/do/echo", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert answer.headers["Location"] == f"/jobs/{frames_of(answer.text)[1].data['id']}"


@pytest.mark.parametrize(
    "accept",
    ["*/*", "application/json", "application/json, text/event-stream;q=0.9", "text/event-stream;q=0", "text/html"],
)
async def test_any_other_client_gets_json(client: httpx2.AsyncClient, accept: str) -> None:
    answer = await client.post("/do/echo", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["Content-Type"]) == (202, "application/json")


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({}, "text/event-stream"),
        ({"Accept": "text/event-stream"}, "text/event-stream"),
        ({"Accept": "application/json"}, "application/json"),
        ({"Accept": "application/*"}, "application/json"),
        ({"Prefer": "respond-async"}, "application/json"),
        ({"Prefer": "wait=10"}, "application/json"),
    ],
)
async def test_endpoint_may_stream_by_default(client: httpx2.AsyncClient, headers: dict[str, str], kind: str) -> None:
    answer = await client.post("/do/echo?stream=true", headers=headers)
    assert answer.headers["Content-Type"].partition(";")[0] == kind


# --- Prefer ---------------------------------------------------------------------------------------------------------


async def test_client_that_waits_gets_the_result(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/do/echo", json={"text": "hi"}, headers={"Prefer": "respond-async, wait=10"})
    assert (answer.status_code, answer.json()) == (200, "hi")
    assert answer.headers["Preference-Applied"] == "wait=10"
    assert "Prefer" in answer.headers["Vary"]


async def test_client_gets_the_202_when_its_wait_is_over(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/do/held", headers={"Prefer": "wait=0.2"})
    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    assert answer.headers["Preference-Applied"] == "wait=0.2"
    assert answer.headers["Location"] == answer.json()["links"]["self"]


async def test_client_that_waits_gets_the_problem_of_a_failed_job(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/do/upstream", headers={"Prefer": "wait=10"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (502, PROBLEM)
    assert answer.json()["title"] == "Model failed"


async def test_client_that_waits_gets_409_if_the_job_is_cancelled(client: httpx2.AsyncClient, service: Service) -> None:
    waiting = asyncio.create_task(client.post("/do/held?key=it", headers={"Prefer": "wait=10"}))
    await service.pace.running.wait()
    found = (await client.get("/jobs/current?key=it")).json()
    await client.post(found["links"]["cancel"])
    answer = await waiting
    assert (answer.status_code, answer.headers["Content-Type"]) == (409, PROBLEM)


async def test_respond_async_alone_is_applied(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/do/echo", headers={"Prefer": "respond-async"})
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (202, "respond-async")


@pytest.mark.parametrize("prefer", ["wait=soon", "wait=-1", "wait=nan", "wait", "handling=lenient", ";;,=,"])
async def test_invalid_preference_is_ignored(client: httpx2.AsyncClient, prefer: str) -> None:
    answer = await client.post("/do/echo", headers={"Prefer": prefer})
    assert answer.status_code == 202
    assert "Preference-Applied" not in answer.headers


async def test_disconnect_ends_the_wait_for_a_result(server: Server, service: Service) -> None:
    with pytest.raises(httpx2.ReadTimeout):
        await server.client.post("/do/watched", headers={"Prefer": "wait=60"}, timeout=0.3)
    async with asyncio.timeout(5):
        await service.pace.stopped.wait()  # on_disconnect cancels the job


# --- refused requests -----------------------------------------------------------------------------------------------


async def test_invalid_arguments_are_422_and_submit_no_job(client: httpx2.AsyncClient, service: Service) -> None:
    for arguments in ({"words": "many"}, {}, {"words": 1, "more": 2}):
        answer = await client.post("/do/talk", json=arguments)
        assert (answer.status_code, answer.headers["Content-Type"]) == (422, PROBLEM)
        assert "words" in answer.json()["detail"] or "more" in answer.json()["detail"]
    assert await count_jobs(service.lane.client) == 0


async def test_arguments_over_the_size_limit_are_413_and_submit_no_job(make: MakeService) -> None:
    service = make(payload_limit=2000)
    async with service.lane.open(), open_client(service) as client:
        assert (await client.post("/do/echo", json={"text": "x" * 1900})).status_code == 202
        answer = await client.post("/do/echo", json={"text": "x" * 2000})
        assert (answer.status_code, answer.headers["Content-Type"]) == (413, PROBLEM)
        assert "2,000" in answer.json()["detail"]
        assert await count_jobs(service.lane.client) == 1


async def test_unavailable_store_is_503_and_nothing_is_submitted(
    service: Service,
) -> None:
    async with service.lane.open(), open_client(service) as client:
        store: Any = service.lane.client.store
        store._writer._database.busy_timeout = 0.2
        other = apsw.Connection(service.lane.settings.store.removeprefix("sqlite:///"))
        other.execute("BEGIN EXCLUSIVE")
        answer = await client.post("/do/echo", headers={"Idempotency-Key": "once"})
        other.execute("ROLLBACK")
        other.close()
        assert (answer.status_code, answer.headers["Content-Type"]) == (503, PROBLEM)
        assert int(answer.headers["Retry-After"]) >= 1
        assert "jobs.db" not in answer.text
        assert await count_jobs(service.lane.client) == 0
        again = await client.post("/do/echo", headers={"Idempotency-Key": "once"})
        assert again.status_code == 202
        assert await count_jobs(service.lane.client) == 1
