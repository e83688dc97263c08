"""The metrics route: both text formats, an outage of the store, and the extra."""

import sys

import httpx2
import pytest

from sidelane.admin.findings.evaluation import findings
from sidelane.admin.findings.mutes import mute
from sidelane.exporters import store_exporter
from sidelane.model.errors import MissingExtra, StoreUnavailable
from sidelane.model.worker import WorkerInfo
from sidelane.web.metrics import FindingCounter
from tests.exporters.facts import read, sample
from tests.web.conftest import BOTH_STORES, open_client
from tests.web.service import Service

UNHEALTHY = WorkerInfo(id="w1:box:4711:abc", name="w1", queues={"chat": 1}, slots=1, health="cannot open its model")


@BOTH_STORES
async def test_metrics_are_served_in_the_format_that_the_client_accepts(client: httpx2.AsyncClient) -> None:
    await client.post("/do/echo", json={"text": "hello"})
    text = await client.get("/metrics")
    assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert read(text.content)[sample("sidelane_store_jobs")] >= 1
    accept = "application/openmetrics-text;version=1.0.0"
    openmetrics = await client.get("/metrics", headers={"Accept": accept})
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert read(openmetrics.content, openmetrics=True)[sample("sidelane_store_jobs")] >= 1


async def test_no_user_appears_in_metrics(client: httpx2.AsyncClient) -> None:
    await client.post("/do/echo", json={"text": "hello"})
    assert "ann" not in (await client.get("/metrics")).text


async def test_metrics_are_a_503_with_a_sentence_while_the_store_is_away(
    client: httpx2.AsyncClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise StoreUnavailable("The store /secret/path is unavailable.")

    monkeypatch.setattr(service.lane.client.store, "stats", fail)
    answer = await client.get("/metrics")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert answer.json()["detail"] == "The store does not answer, so there are no metrics now."


async def test_the_openapi_document_has_no_metrics(service: Service) -> None:
    assert "/metrics" not in service.app.openapi()["paths"]


def test_a_missing_driver_names_the_extra(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        each for each in sys.modules if each.startswith("sidelane.exporters") or each == "sidelane.web.metrics"
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client.core", None)
    service.jobs.__dict__.pop("metrics", None)
    with pytest.raises(MissingExtra, match=r"install sidelane\[metrics\]"):
        _ = service.jobs.metrics


async def test_the_ends_of_jobs_are_counted(client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_exporter, "CACHED_FOR", 0.0)
    await client.post("/do/echo", json={"text": "hello"}, headers={"Prefer": "wait=10"})
    found = read((await client.get("/metrics")).content)
    assert found[sample("sidelane_jobs_ended_total", queue="default", task="echo", outcome="succeeded")] == 1
    assert found[sample("sidelane_job_wait_seconds_count", queue="default", task="echo")] == 1


async def test_target_waits_and_findings_are_exposed(service: Service) -> None:
    async with service.lane.open(), open_client(service) as client:
        await client.post("/do/talk", json={"words": 1})
        await service.lane.client.store.heartbeat(UNHEALTHY, [], lease=60.0)
        found = read((await client.get("/metrics")).content)
    assert found[sample("sidelane_queue_target_wait_seconds", queue="chat")] == 10
    assert sum(found[sample("sidelane_findings", severity=each)] for each in ("urgent", "soon", "info")) >= 1


async def test_findings_are_read_once_in_ten_seconds_and_muted_ones_are_not_counted(service: Service) -> None:
    counter = FindingCounter()
    async with service.lane.open():
        store = service.lane.client.store
        await store.heartbeat(UNHEALTHY, [], lease=60.0)
        assert sum((await counter.count(store)).values()) >= 1
        for finding in await findings(store):
            await mute(store, finding.key, 60.0)
        assert sum((await counter.count(store)).values()) >= 1  # cached
        assert sum((await FindingCounter().count(store)).values()) == 0
