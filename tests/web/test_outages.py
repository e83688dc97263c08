"""Outages of the store: a job that was submitted before is answered 202, and the log has one line per request."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from sidelane.model.errors import StoreError, StoreMisconfigured, StoreUnavailable
from sidelane.model.job import Query
from sidelane.web import sse
from tests.web.clients import EVENT_STREAM, frames_of
from tests.web.conftest import MakeService, open_client
from tests.web.service import Service

AFTER_SUBMIT = ("get", "get_batch", "get_or_set", "queue_position", "read", "touch_listeners", "workers")


@pytest.fixture
def service(make: MakeService) -> Service:
    return make(secret="signs the tokens of these tests only")


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the service without a worker, so that jobs stay queued."""
    async with service.lane.open(), open_client(service) as client:
        yield client


def break_store(
    monkeypatch: pytest.MonkeyPatch, service: Service, *verbs: str, error: type[StoreError]
) -> asyncio.Event:
    """Let calls of the store fail, and return an event that is set when its log was read."""
    was_read = asyncio.Event()

    async def fail(*arguments: object, **options: object) -> None:
        raise error("The store /secret/path is unavailable.")

    async def fail_to_read(*arguments: object, **options: object) -> None:
        was_read.set()
        await fail()

    for verb in verbs:
        monkeypatch.setattr(service.lane.client.store, verb, fail_to_read if verb == "read" else fail)
    return was_read


async def only_job(service: Service, monkeypatch: pytest.MonkeyPatch) -> str:
    """End the outage and return the id of the only job."""
    monkeypatch.undo()
    (record,) = await service.lane.client.find(Query())
    return record.id


async def test_a_submitted_job_is_answered_202_without_a_position(
    client: httpx2.AsyncClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_store(monkeypatch, service, *AFTER_SUBMIT, error=StoreUnavailable)
    answer = await client.post("/do/echo")
    document = answer.json()
    assert (answer.status_code, document["state"]) == (202, "queued")
    assert (document["position"], document["estimated_wait"], document["has_worker"]) == (None, None, None)
    assert answer.headers["Location"] == document["links"]["self"]
    assert answer.headers["Retry-After"] == "1"
    assert document["links"]["events"].startswith(f"{document['links']['self']}/events/")
    assert await only_job(service, monkeypatch) == document["id"]
    assert (await client.get(document["links"]["self"])).json()["position"] == 0


async def test_links_have_no_token_if_the_secret_is_in_the_unavailable_store(
    make: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make()
    async with service.lane.open(), open_client(service) as client:
        break_store(monkeypatch, service, *AFTER_SUBMIT, error=StoreUnavailable)
        one, many = await client.post("/do/echo"), await client.post("/many/echo", json=[{}])
        monkeypatch.undo()
        for answer in (one, many):
            links = answer.json()["links"]
            assert (answer.status_code, links["events"]) == (202, f"{links['self']}/events")
        await client.post(one.json()["links"]["cancel"])
        assert "event: end" in (await client.get(one.json()["links"]["events"])).text


async def test_a_submitted_job_is_answered_with_a_stream_that_names_it(
    client: httpx2.AsyncClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    unavailable = break_store(monkeypatch, service, *AFTER_SUBMIT, error=StoreUnavailable)
    monkeypatch.setattr(sse, "STORE_RETRY_DELAY", (0.01, 0.02))
    answering = asyncio.create_task(client.post("/do/echo", headers=EVENT_STREAM))
    await unavailable.wait()
    job_id = await only_job(service, monkeypatch)
    await service.lane.client.cancel(job_id)
    answer = await answering
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    _, job, *pings, end = frames_of(answer.text)
    assert (job.event, job.data["position"], job.data["has_worker"]) == ("job", None, None)
    assert answer.headers["Location"] == job.data["links"]["self"]
    assert {ping.comment for ping in pings} == {"ping"}
    assert (end.event, end.data["state"], job.data["id"]) == ("end", "cancelled", job_id)


@pytest.mark.parametrize("path", ["/jobs/any/events", "/jobs/any/events/1.token", "/batches/any/events"])
async def test_events_are_a_stream_that_ends_at_once_so_that_an_event_source_reconnects(
    client: httpx2.AsyncClient, service: Service, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    break_store(monkeypatch, service, "get", "get_batch", error=StoreUnavailable)
    answer = await client.get(path)
    if path.endswith("token"):  # it is checked without the store, and forged
        assert answer.status_code == 404
        return
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert re.fullmatch(r"retry: \d{4}\n: the store is unavailable\n", answer.text)


@pytest.mark.parametrize("wait", ["0", "10"])
async def test_a_request_that_waits_is_answered_202(
    client: httpx2.AsyncClient, service: Service, monkeypatch: pytest.MonkeyPatch, wait: str
) -> None:
    break_store(monkeypatch, service, *AFTER_SUBMIT, error=StoreUnavailable)
    answer = await client.post("/do/echo", headers={"Prefer": f"wait={wait}"})
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (202, f"wait={wait}")
    assert await only_job(service, monkeypatch) == answer.json()["id"]


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}], ids=["without a key", "with a key"])
async def test_a_submitted_batch_is_answered_202_with_the_number_of_its_jobs(
    client: httpx2.AsyncClient, service: Service, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    break_store(monkeypatch, service, *AFTER_SUBMIT, error=StoreUnavailable)
    answer = await client.post("/many/one", json=[{}, {}, {}], headers=headers)
    document = answer.json()
    assert (answer.status_code, document["state"], document["sealed"]) == (202, "running", True)
    assert document["counts"] == {"total": 1, "unfinished": 1, "succeeded": 0, "failed": 0, "cancelled": 0}
    assert [refused["index"] for refused in document["refused"]] == [1, 2]
    monkeypatch.undo()
    again = (await client.get(answer.headers["Location"])).json()
    assert (again["id"], again["counts"]) == (document["id"], document["counts"])


async def test_an_outage_logs_one_line_without_a_traceback(
    client: httpx2.AsyncClient, service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    break_store(monkeypatch, service, "open_batch", "get", error=StoreUnavailable)
    for request in (client.post("/many/echo", json=[{}]), client.get("/jobs/00ff")):
        caplog.clear()
        answer = await request
        assert (answer.status_code, "secret" in answer.text) == (503, False)
        (record,) = web_records(caplog)
        assert (record.levelno, record.exc_info) == (logging.WARNING, None)
        assert record.getMessage() == "request failed: The store /secret/path is unavailable."


async def test_a_store_that_will_not_recover_is_logged_with_its_traceback(
    client: httpx2.AsyncClient, service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    break_store(monkeypatch, service, "get", error=StoreMisconfigured)
    assert (await client.get("/jobs/00ff")).status_code == 503
    (record,) = web_records(caplog)
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None


def web_records(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record for record in caplog.records if record.name.startswith("sidelane.web")]
