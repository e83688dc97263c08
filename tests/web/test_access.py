"""Access: only its submitter sees a job, and anyone who has its token sees its events."""

import time

import httpx2
import pytest

from sidelane.model.ids import new_id
from sidelane.model.job import DAY, JobRecord, JobSpec, State
from sidelane.web import access
from tests.web.conftest import BOTH_STORES, MakeService, open_client
from tests.web.service import Service, current_user

ROUTES = [
    ("GET", ""),
    ("GET", "/result"),
    ("GET", "/events"),
    ("POST", "/cancel"),
]


@pytest.mark.parametrize(("method", "tail"), ROUTES)
async def test_job_of_another_user_is_404(client: httpx2.AsyncClient, method: str, tail: str) -> None:
    job = (await client.post("/do/echo")).json()
    unknown = await client.request(method, f"/jobs/00ff{tail}")
    assert unknown.status_code == 404
    for user in ("bob", ""):
        answer = await client.request(method, f"/jobs/{job['id']}{tail}", headers={"X-User": user})
        assert answer.status_code == 404
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.text == unknown.text.replace("00ff", job["id"])


async def test_another_user_cannot_cancel_a_job(client: httpx2.AsyncClient, service: Service) -> None:
    job = (await client.post("/do/held")).json()
    await client.post(job["links"]["cancel"], headers={"X-User": "bob"})
    service.pace.allow()
    _, _, end = (await client.get(job["links"]["events"])).text.rpartition("event: end")
    assert '"succeeded"' in end


async def test_another_user_cannot_resume_a_stream(client: httpx2.AsyncClient) -> None:
    job = (await client.post("/do/echo")).json()
    end = f"{job['id']}:1:1"
    answer = await client.post("/do/echo", headers={"X-User": "bob", "Last-Event-ID": end})
    assert answer.status_code == 404


async def test_current_returns_the_users_newest_job_with_the_key(client: httpx2.AsyncClient) -> None:
    path = "/jobs/current?key=chat:1"
    assert (await client.get(path)).status_code == 404
    first = (await client.post("/do/echo?key=chat:1")).json()
    assert (await client.get(path)).json()["id"] == first["id"]
    second = (await client.post("/do/talk?key=chat:1", json={"words": 1})).json()
    await client.post("/do/echo?key=chat:2")
    await client.post("/do/echo?key=chat:1", headers={"X-User": "bob"})
    assert (await client.get(path)).json()["id"] == second["id"]
    assert (await client.get(path, headers={"X-User": "eve"})).status_code == 404


async def test_current_without_a_user_is_404(make: MakeService) -> None:
    service = make()
    async with service.lane.open(), open_client(service, user=None) as client:
        await client.post("/do/echo?key=it")
        assert (await client.get("/jobs/current?key=it")).status_code == 404


async def test_current_without_a_key_is_422(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/jobs/current")
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
    assert answer.json()["errors"][0]["loc"] == ["query", "key"]


async def test_without_users_the_id_gives_access_to_a_job(make: MakeService) -> None:
    service = make(without_users=True)
    async with service.lane.open(workers=1), open_client(service, user=None) as client:
        job = (await client.post("/do/echo?key=it", json={"text": "hi"})).json()
        assert job["links"]["events"] == f"/jobs/{job['id']}/events"
        assert "event: end" in (await client.get(job["links"]["events"])).text
        assert (await client.get(job["links"]["result"])).json() == "hi"
        assert (await client.get(f"/jobs/{new_id()}")).status_code == 404


# --- missing users, and guessable keys and ids ----------------------------------------------------------------------


@BOTH_STORES
@pytest.mark.parametrize("user", [None, ""])
async def test_missing_user_sees_no_job_even_one_without_a_user(make: MakeService, user: str | None) -> None:
    service = make()
    service.app.dependency_overrides[current_user] = lambda: user
    async with service.lane.open(), open_client(service) as client:
        job = await service.lane.submit(service.tasks["held"].options(key="it").call())
        keyless = await service.lane.submit(service.tasks["held"].call())
        for path in ("/jobs/current?key=it", "/jobs/current?key=", f"/jobs/{job.id}", f"/jobs/{keyless.id}/result"):
            assert (await client.get(path)).status_code == 404
        assert (await client.post(f"/jobs/{job.id}/cancel")).status_code == 404
        assert (await client.post("/do/echo")).status_code == 403


@BOTH_STORES
async def test_empty_key_does_not_find_jobs_without_a_key(make: MakeService) -> None:
    service = make()
    async with service.lane.open(), open_client(service) as client:
        assert (await client.post("/do/held")).status_code == 202
        assert (await client.get("/jobs/current?key=")).status_code == 404


async def test_internal_jobs_are_not_found_by_key(make: MakeService) -> None:
    service = make()
    spec = JobSpec(id="side", task="sidelane.anything", user="ann", key="it")
    async with service.lane.open(), open_client(service) as client:
        await service.lane.client.store.submit([spec])
        assert (await client.get("/jobs/current?key=it")).status_code == 404


@pytest.mark.parametrize("guess", ["jobs/order-17", "jobs/order-18", "batches/night", "jobs/in-" + "0" * 32])
async def test_without_users_a_guessable_id_is_403_whether_or_not_it_exists(make: MakeService, guess: str) -> None:
    service = make(without_users=True)
    async with service.lane.open(), open_client(service, user=None) as client:
        await service.lane.submit(service.tasks["held"].options(id="order-17").call())
        await service.lane.submit_many([service.tasks["held"].call()], id="night")
        for method, tail in (("GET", ""), ("GET", "/events"), ("POST", "/cancel")):
            answer = await client.request(method, f"/{guess}{tail}")
            assert (answer.status_code, answer.headers["Content-Type"]) == (403, "application/problem+json")
            assert "guessable=True" in answer.json()["detail"]
            assert "order-17" not in answer.text
        (record,) = await service.lane.client.store.get(["order-17"])
        assert isinstance(record, JobRecord)
        assert record.state is State.QUEUED


async def test_without_users_a_key_is_403_and_a_chosen_id_is_not_submitted(make: MakeService) -> None:
    service = make(without_users=True)
    async with service.lane.open(), open_client(service, user=None) as client:
        assert (await client.post("/do/held?key=it")).status_code == 202
        for key in ("it", "other"):
            answer = await client.get(f"/jobs/current?key={key}")
            assert (answer.status_code, answer.headers["Content-Type"]) == (403, "application/problem+json")
            assert "guessable=True" in answer.json()["detail"]
        assert (await client.post("/do/held?chosen=mine")).status_code == 403
        assert await service.lane.client.store.get(["mine"]) == [None]


async def test_guessable_true_gives_access_by_chosen_id_and_by_key(make: MakeService) -> None:
    service = make(without_users=True, guessable=True)
    async with service.lane.open(), open_client(service, user=None) as client:
        job = (await client.post("/do/held?chosen=mine&key=it")).json()
        assert (await client.get("/jobs/current?key=it")).json()["id"] == job["id"] == "mine"
        assert (await client.post(job["links"]["cancel"])).json()["state"] == "cancelled"


async def test_guessable_false_refuses_keys_to_users_too(make: MakeService) -> None:
    service = make(guessable=False)
    async with service.lane.open(), open_client(service) as client:
        await client.post("/do/held?key=it")
        assert (await client.get("/jobs/current?key=it")).status_code == 403


# --- tokens ---------------------------------------------------------------------------------------------------------


async def test_token_gives_access_only_to_the_events_of_its_job(client: httpx2.AsyncClient) -> None:
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
async def test_forged_token_is_404(client: httpx2.AsyncClient, forged: str) -> None:
    job = (await client.post("/do/echo")).json()
    expires, _, signature = job["links"]["events"].rpartition("/")[2].partition(".")
    token = forged.replace("{expires}", expires).replace("{signature}", signature)
    answer = await client.get(f"/jobs/{job['id']}/events/{token}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")


async def test_token_outlives_its_job_and_then_expires(
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


async def test_token_of_a_delayed_job_lasts_until_it_has_run(service: Service) -> None:
    async with service.lane.open():
        job = await service.lane.submit(service.tasks["echo"].options(user="ann", delay=10 * DAY).call())
        at = await service.lane.submit(service.tasks["echo"].options(user="ann", run_at=time.time() + 10 * DAY).call())
        for each in (job, at):
            token = await service.jobs.job_responses.access.token(await each.record())
            assert token is not None
            assert int(token.partition(".")[0], 16) > time.time() + 11 * DAY


async def test_tokens_are_signed_with_the_secret_setting(make: MakeService) -> None:
    tokens = []
    secrets = ("one" * 11, "two" * 11, "", "")
    for secret in secrets:
        service = make(secret=secret)
        async with service.lane.open(workers=1), open_client(service) as client:
            tokens.append((await client.post("/do/echo")).json()["links"]["events"])
            opened = [(await client.get(events)).status_code for events in tokens]
            assert opened == [200 if secret == other else 404 for other, _ in zip(secrets, tokens, strict=False)]
