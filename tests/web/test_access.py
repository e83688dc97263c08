"""A job is seen by its submitter alone, and its events by whoever holds their token."""

import time

import httpx2
import pytest

from sidelane.model.job import DAY
from sidelane.web import access
from tests.web.conftest import MakeService, called
from tests.web.service import Service

ROUTES = [
    ("GET", ""),
    ("GET", "/result"),
    ("GET", "/events"),
    ("POST", "/cancel"),
]


@pytest.mark.parametrize(("method", "tail"), ROUTES)
async def test_to_others_a_job_does_not_exist(client: httpx2.AsyncClient, method: str, tail: str) -> None:
    job = (await client.post("/do/echo")).json()
    unknown = await client.request(method, f"/jobs/00ff{tail}")
    assert unknown.status_code == 404
    for user in ("bob", ""):
        answer = await client.request(method, f"/jobs/{job['id']}{tail}", headers={"X-User": user})
        assert answer.status_code == 404
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.text == unknown.text.replace("00ff", job["id"])


async def test_others_cannot_cancel_a_job(client: httpx2.AsyncClient, service: Service) -> None:
    job = (await client.post("/do/held")).json()
    await client.post(job["links"]["cancel"], headers={"X-User": "bob"})
    service.pace.allow()
    _, _, end = (await client.get(job["links"]["events"])).text.rpartition("event: end")
    assert '"succeeded"' in end


async def test_others_cannot_resume_a_job(client: httpx2.AsyncClient) -> None:
    job = (await client.post("/do/echo")).json()
    end = f"{job['id']}:1:1"
    answer = await client.post("/do/echo", headers={"X-User": "bob", "Last-Event-ID": end})
    assert answer.status_code == 404


async def test_the_current_job_of_a_key_is_the_newest_of_ones_own(client: httpx2.AsyncClient) -> None:
    path = "/jobs/current?key=chat:1"
    assert (await client.get(path)).status_code == 404
    first = (await client.post("/do/echo?key=chat:1")).json()
    assert (await client.get(path)).json()["id"] == first["id"]
    second = (await client.post("/do/talk?key=chat:1", json={"words": 1})).json()
    await client.post("/do/echo?key=chat:2")
    await client.post("/do/echo?key=chat:1", headers={"X-User": "bob"})
    assert (await client.get(path)).json()["id"] == second["id"]
    assert (await client.get(path, headers={"X-User": "eve"})).status_code == 404


async def test_without_a_user_there_is_no_current_job(make: MakeService) -> None:
    service = make()
    async with service.lane.running(), called(service, user=None) as client:
        await client.post("/do/echo?key=it")
        assert (await client.get("/jobs/current?key=it")).status_code == 404


async def test_the_key_must_be_given(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/jobs/current")
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
    assert answer.json()["errors"][0]["loc"] == ["query", "key"]


async def test_where_everyone_may_look_the_id_alone_opens_a_job(make: MakeService) -> None:
    service = make(open_to_everyone=True)
    async with service.lane.running(workers=1), called(service, user=None) as client:
        job = (await client.post("/do/echo?key=it", json={"text": "hi"})).json()
        assert job["links"]["events"] == f"/jobs/{job['id']}/events"
        assert "event: end" in (await client.get(job["links"]["events"])).text
        assert (await client.get(job["links"]["result"])).json() == "hi"
        assert (await client.get("/jobs/current?key=it")).json()["id"] == job["id"]
        assert (await client.get("/jobs/00ff")).status_code == 404


# --- tokens ---------------------------------------------------------------------------------------------------------


async def test_a_token_opens_the_events_of_its_job_and_nothing_else(client: httpx2.AsyncClient) -> None:
    job = (await client.post("/do/echo")).json()
    token = job["links"]["events"].rpartition("/")[2]
    nobody = {"X-User": ""}
    assert (await client.get(job["links"]["events"], headers=nobody)).status_code == 200
    other = (await client.post("/do/echo")).json()
    for path in (f"/jobs/{other['id']}/events/{token}", f"/jobs/00ff/events/{token}", f"/jobs/{job['id']}/{token}"):
        assert (await client.get(path, headers=nobody)).status_code == 404


@pytest.mark.parametrize(
    "forged", ["x", "ffffffffff.", "ffffffffff.AAAA", "{expires}.AAAA", "0.{signature}", "{expires}.ü"]
)
async def test_a_forged_token_opens_nothing(client: httpx2.AsyncClient, forged: str) -> None:
    job = (await client.post("/do/echo")).json()
    expires, _, signature = job["links"]["events"].rpartition("/")[2].partition(".")
    token = forged.replace("{expires}", expires).replace("{signature}", signature)
    answer = await client.get(f"/jobs/{job['id']}/events/{token}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")


async def test_a_token_outlives_its_job_and_then_expires(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = (await client.post("/do/echo")).json()
    assert (await client.get(job["links"]["events"])).status_code == 200
    with monkeypatch.context() as patch:
        now = time.time()
        patch.setattr(time, "time", lambda: now + DAY)
        assert (await client.get(job["links"]["events"])).status_code == 200
        patch.setattr(time, "time", lambda: now + DAY + access.MARGIN + 10)
        assert (await client.get(job["links"]["events"])).status_code == 404
        renewed = (await client.get(job["links"]["self"])).json()["links"]["events"]
        assert (await client.get(renewed)).status_code == 200


async def test_a_token_of_a_scheduled_job_lasts_until_it_has_run(service: Service) -> None:
    async with service.lane.running():
        job = await service.lane.submit(service.tasks["echo"].options(user="ann", delay=10 * DAY).call())
        at = await service.lane.submit(service.tasks["echo"].options(user="ann", run_at=time.time() + 10 * DAY).call())
        for each in (job, at):
            token = await service.jobs.desk.access.token(await each.record())
            assert token is not None
            assert int(token.partition(".")[0], 16) > time.time() + 11 * DAY


async def test_tokens_are_signed_by_the_secret_of_the_deployment(make: MakeService) -> None:
    tokens = []
    for secret in ("one", "two", "", ""):
        service = make(secret=secret)
        async with service.lane.running(workers=1), called(service) as client:
            tokens.append((await client.post("/do/echo")).json()["links"]["events"])
            opened = [(await client.get(events)).status_code for events in tokens]
            assert opened == [
                200 if secret == other else 404 for other, _ in zip(("one", "two", "", ""), tokens, strict=False)
            ]
