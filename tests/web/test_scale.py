"""The scale route: numbers for KEDA, also without a load, and an outage of the store."""

import httpx2
import pytest

from sidelane.model.errors import StoreUnavailable
from sidelane.web import scale
from tests.web.conftest import BOTH_STORES
from tests.web.service import Service


@BOTH_STORES
async def test_every_number_is_there_for_a_queue_that_has_never_had_a_job(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/scale", params={"queue": "never-seen"})
    assert answer.status_code == 200
    document = answer.json()
    assert (document["desired_workers"], document["busy_workers"], document["predicted_wait"]) == (0, 0, 0)
    assert document["queues"] == [
        {"name": "never-seen", "arrivals": 0, "run_time": 1, "ready": 0, "running": 0, "waiting_for_limit": 0}
    ]


async def test_a_running_job_keeps_its_worker(service: Service, client: httpx2.AsyncClient) -> None:
    await client.post("/do/paced", json={"words": 1})
    await service.pace.running.wait()
    document = (await client.get("/scale", params={"queue": ["chat", "small"], "slots": 5})).json()
    assert document["desired_workers"] == 1
    assert document["slots"] == 5
    assert [each["name"] for each in document["queues"]] == ["chat", "small"]
    service.pace.allow()


async def test_ready_jobs_want_workers_before_any_has_started(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "CACHED_FOR", 0.0)
    async with service.lane.open(), httpx2.AsyncClient(
        transport=httpx2.ASGITransport(service.app), base_url="http://test", headers={"X-User": "ann"}
    ) as client:  # fmt: skip
        for _ in range(40):
            await client.post("/do/talk", json={"words": 1})
        document = (await client.get("/scale?queue=chat&slots=2")).json()
    assert document["desired_workers"] == 2
    assert document["reason"] == "chat: 40 ready, to start within 10 s, need 4 slots"
    assert document["predicted_wait"] == 20


async def test_requests_of_one_second_share_a_read(
    service: Service, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.get("/scale")

    async def fail() -> None:
        raise StoreUnavailable("The store is unavailable.")

    monkeypatch.setattr(service.lane.client.store, "stats", fail)
    assert (await client.get("/scale")).status_code == 200
    monkeypatch.setattr(scale, "CACHED_FOR", 0.0)
    away = await client.get("/scale")
    assert (away.status_code, away.headers["content-type"]) == (503, "application/problem+json")


@pytest.mark.parametrize("query", ["slots=0", "slots=many", "slots=-1"])
async def test_slots_that_are_no_number_are_a_422(client: httpx2.AsyncClient, query: str) -> None:
    answer = await client.get(f"/scale?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


async def test_the_openapi_document_has_no_scale(service: Service) -> None:
    assert "/scale" not in service.app.openapi()["paths"]
