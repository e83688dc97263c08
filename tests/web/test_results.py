"""Results over HTTP: of jobs that are unfinished, succeeded, failed, cancelled or removed."""

import time
from functools import partial
from typing import Any

import httpx2
import pytest

from sidelane import app
from sidelane.stores.factory import open_store
from tests.web.clients import frames_of
from tests.web.conftest import MakeService, open_client
from tests.web.service import RETENTION, Service

PROBLEM = "application/problem+json"


async def run_to_end(
    client: httpx2.AsyncClient, name: str, **arguments: object
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Submit a job, wait for its end, and return its document and its end event."""
    submitted = (await client.post(f"/do/{name}", json=arguments)).json()
    stream = await client.get(submitted["links"]["events"])
    return (await client.get(submitted["links"]["self"])).json(), frames_of(stream.text)[-1].data


async def test_result_of_an_unfinished_job_is_202_with_the_job(client: httpx2.AsyncClient, service: Service) -> None:
    job = (await client.post("/do/held")).json()
    answer = await client.get(job["links"]["result"])
    assert answer.status_code == 202
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["Location"] == job["links"]["self"]
    assert answer.json()["id"] == job["id"]
    service.pace.allow()
    await client.get(job["links"]["events"])
    answer = await client.get(job["links"]["result"])
    assert (answer.status_code, answer.json()) == (200, "done")
    assert "Retry-After" not in answer.headers


async def test_status_has_retry_after_until_the_job_ends(client: httpx2.AsyncClient, service: Service) -> None:
    job = (await client.post("/do/held")).json()
    await service.pace.running.wait()
    running = await client.get(job["links"]["self"])
    assert (running.json()["state"], running.json()["position"]) == ("running", None)
    assert running.json()["started"] is not None
    assert "Retry-After" in running.headers
    service.pace.allow()
    await client.get(job["links"]["events"])
    finished = await client.get(job["links"]["self"])
    assert (finished.json()["state"], finished.json()["links"]["cancel"]) == ("succeeded", None)
    assert finished.json()["ended"] is not None
    assert "Retry-After" not in finished.headers


async def test_document_has_the_latest_progress(client: httpx2.AsyncClient) -> None:
    document, _ = await run_to_end(client, "draw", points=1)
    assert document["progress"] == {"percent": 50, "message": "drawing"}


@pytest.mark.parametrize(
    ("name", "status", "title", "detail"),
    [
        ("upstream", 502, "Model failed", "model overloaded"),
        ("teapot", 418, "I'm a Teapot", "I am a teapot."),
        ("no_credit", 402, "No credit", "Buy some."),
        ("broken", 500, "Task failed", "The task failed with an error it did not explain."),
        ("slow", 504, "Timed out", "The task did not end within 0.2 seconds."),
    ],
)
async def test_failed_job_has_the_same_problem_everywhere(
    client: httpx2.AsyncClient, name: str, status: int, title: str, detail: str
) -> None:
    document, end = await run_to_end(client, name)
    answer = await client.get(document["links"]["result"])
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, PROBLEM)
    problem = answer.json()
    assert (problem["status"], problem["title"], problem["detail"]) == (status, title, detail)
    assert (problem["job_id"], problem["attempt"]) == (document["id"], 1)
    assert problem.pop("partial", None) == ("so far, so good" if name == "broken" else None)
    assert problem == document["problem"] == end["problem"]
    assert (document["state"], end["state"]) == ("failed", "failed")


async def test_problem_keeps_its_extra_members(client: httpx2.AsyncClient) -> None:
    _, end = await run_to_end(client, "no_credit")
    assert end["problem"]["balance"] == 0


async def test_list_detail_of_an_http_exception_is_in_the_problem(client: httpx2.AsyncClient) -> None:
    document, _ = await run_to_end(client, "picky")
    answer = await client.get(document["links"]["result"])
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"loc": ["body", "x"], "msg": "is missing"}]


async def test_message_and_traceback_of_an_exception_are_not_public(
    client: httpx2.AsyncClient, service: Service
) -> None:
    document, _ = await run_to_end(client, "broken")
    for path in (document["links"]["self"], document["links"]["result"], document["links"]["events"]):
        text = (await client.get(path)).text
        assert "secret" not in text
        assert "ValueError" not in text
        assert "Traceback" not in text
    record = await service.lane.client.record(document["id"])
    assert "secret message" in record.history[0].error
    assert "Traceback" in record.history[0].traceback


async def test_problem_whose_status_is_not_an_error_is_500(client: httpx2.AsyncClient) -> None:
    document, _ = await run_to_end(client, "wrong_status")
    answer = await client.get(document["links"]["result"])
    assert (answer.status_code, answer.headers["Content-Type"]) == (500, PROBLEM)


async def test_running_job_stops_when_it_is_cancelled(client: httpx2.AsyncClient, service: Service) -> None:
    job = (await client.post("/do/held")).json()
    await service.pace.running.wait()
    answer = await client.post(job["links"]["cancel"])
    assert (answer.status_code, answer.json()["cancelling"]) == (200, True)
    end = frames_of((await client.get(job["links"]["events"])).text)[-1].data
    assert end == {"id": job["id"], "state": "cancelled"}
    result = await client.get(job["links"]["result"])
    assert (result.status_code, result.headers["Content-Type"]) == (409, PROBLEM)
    again = await client.post(job["links"]["cancel"])
    assert (again.status_code, again.json()["state"]) == (200, "cancelled")


async def test_queued_job_is_cancelled_at_once(make: MakeService) -> None:
    service = make()
    async with service.lane.open(), open_client(service) as client:
        job = (await client.post("/do/echo")).json()
        assert (await client.post(job["links"]["cancel"])).json()["state"] == "cancelled"


async def test_removed_job_is_410_for_its_user_and_404_for_others(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = [0.0]
    monkeypatch.setattr(app, "open_store", partial(open_store, clock=lambda: time.time() + sum(later)))
    async with service.lane.open(workers=1), open_client(service) as client:
        job = (await client.post("/do/fleeting?key=it")).json()
        await client.get(job["links"]["events"])
        later.append(RETENTION + 1)
        await service.lane.client.store.sweep(lease=2.0)
        await assert_removed(client, job)


async def assert_removed(client: httpx2.AsyncClient, job: dict[str, Any]) -> None:
    links, bob = job["links"], {"X-User": "bob"}
    own = [
        ("GET", links["self"]),
        ("GET", links["result"]),
        ("GET", f"{links['self']}/events"),
        ("POST", links["cancel"]),
    ]
    for method, path in [*own, ("GET", links["events"])]:
        answer = await client.request(method, path)
        assert (answer.status_code, answer.headers["Content-Type"]) == (410, PROBLEM), path
    for method, path in own:
        assert (await client.request(method, path, headers=bob)).status_code == 404
    assert (await client.get("/jobs/current?key=it")).status_code == 404
    resumed = {"Last-Event-ID": f"{job['id']}:1:1"}
    assert (await client.post("/do/echo", headers=resumed)).status_code == 410
    assert (await client.post("/do/echo", headers={**resumed, **bob})).status_code == 404
