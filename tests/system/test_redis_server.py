"""Workers and the HTTP service while their server is killed, away, full, or has lost its last writes."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis

from examples.stock_chat.demo.server_events import ServerEvent, server_events
from sidelane import Sidelane, State
from sidelane.model.job import Query
from sidelane.model.worker import OK
from sidelane.worker.worker import run_in_background
from tests.contract.servers import RunningServer
from tests.system import shop
from tests.system.process_scenario import ProcessScenario, text_by_attempt
from tests.system.store_urls import ON_SERVERS
from tests.system.waiting import until

pytestmark = ON_SERVERS

ACCEPTED, UNAVAILABLE = 202, 503

SUBMITTERS, EACH = 100, 3


@pytest.fixture
async def admin(server: RunningServer) -> AsyncIterator["Redis"]:
    """A plain client, for what an operator does."""
    client: Redis = Redis(port=server.port, decode_responses=True)
    yield client
    await client.aclose()


@pytest.mark.long
@pytest.mark.row("R9")
async def test_server_restart_longer_than_a_lease_costs_no_attempt(
    scenario: ProcessScenario, server: RunningServer, lease: float
) -> None:
    workers = [await scenario.worker(name) for name in ("w1", "w2")]
    held, told = await scenario.submit(shop.hold.call(), shop.tell.call(100, 0.05))
    for job in held, told:
        await scenario.wait_started(job)
    server.stop(signal.SIGKILL)
    await asyncio.sleep(3 * lease)  # nothing happens now that could be waited for
    server.start()
    for worker in workers:
        scenario.processes.open_gate(worker.name)
    for job in held, told:
        record = await scenario.wait_finished(job)
        assert (record.state, record.attempt, record.worker_losses) == (State.SUCCEEDED, 1, 0)
        assert len(scenario.processes.notes("start", job)) == 1
    assert [data["text"] for name, data in await scenario.event_log(told) if name == "token"] == [
        f"{n} " for n in range(100)
    ]
    assert not any(worker.exited for worker in workers)


@pytest.mark.parametrize("away", [0.5, pytest.param(6.0, marks=pytest.mark.long)])
async def test_workers_claim_again_within_five_seconds_after_the_server_is_back(
    scenario: ProcessScenario, server: RunningServer, away: float, record_property: Callable[[str, object], None]
) -> None:
    names = ("w1", "w2", "w3")
    for name in names:
        await scenario.worker(name, SIDELANE_CONCURRENCY="2")
    server.stop(signal.SIGKILL)
    await asyncio.sleep(away)
    server.start()
    back = shop.machine_time()
    jobs = await scenario.submit(*(shop.hold.call() for _ in range(6)))  # there is a slot for each
    await until(lambda: len(scenario.processes.notes("start")) == len(jobs), "all of them begin", within=5)
    started = scenario.processes.notes("start")
    assert {note["worker"] for note in started} == set(names)
    record_property(f"claims_after_{away:g}_s_away_s", round(max(note["at"] for note in started) - back, 2))
    for name in names:
        scenario.processes.open_gate(name)
    assert {record.attempt for record in await scenario.wait_all_finished(jobs)} == {1}


@pytest.mark.long
async def test_worker_health_reports_a_server_outage_until_it_ends(
    scenario: ProcessScenario, server: RunningServer
) -> None:
    lane = Sidelane(store=server.url(), settings={"lease_duration": 1.0})
    async with lane.open(), run_in_background(lane.worker(name="w1")) as worker:
        await until(lambda: worker.health == OK, "it is well")
        server.stop(signal.SIGKILL)
        await until(lambda: worker.health.startswith("cannot "), "it says what it cannot do")
        assert "SIDELANE_STORE" in worker.health
        server.start()
        await until(lambda: worker.health == OK, "it is well again", within=5)

        async def says_so() -> bool:
            return [(each.name, each.health) for each in await scenario.store.workers()] == [("w1", OK)]

        await until(says_so, "others see it")


@pytest.mark.long
async def test_full_server_lets_running_jobs_finish_and_rejects_submits_with_503(
    scenario: ProcessScenario, admin: "Redis"
) -> None:
    await scenario.worker("w1", SIDELANE_CONCURRENCY="1")
    _, client = await scenario.api()
    held = (await client.post("/holds")).json()["id"]
    await scenario.wait_started(held)
    waiting = [(await client.post(f"/sums/{number}", params={"a": number, "b": 1})).json()["id"] for number in range(5)]
    await admin.config_set("maxmemory", "1mb")

    refused = await client.post("/sums/refused", params={"a": 1, "b": 1})
    assert refused.status_code == UNAVAILABLE
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["retry-after"]
    assert refused.json()["status"] == UNAVAILABLE
    assert "nothing was done" in refused.json()["detail"]
    scenario.processes.open_gate("w1")
    ended = await scenario.wait_all_finished([held, *waiting])
    assert {(record.state, record.attempt) for record in ended} == {(State.SUCCEEDED, 1)}
    assert text_by_attempt(await scenario.event_log(held)) == ["before after "]

    await admin.config_set("maxmemory", "0")
    assert (await client.get("/jobs/refused")).status_code == 404
    accepted = await client.post("/sums/refused", params={"a": 1, "b": 1})
    assert accepted.status_code == ACCEPTED
    assert (await scenario.wait_finished("refused")).result == "2"


async def test_job_that_streams_while_its_server_is_full_keeps_all_its_events(
    scenario: ProcessScenario, admin: "Redis"
) -> None:
    await scenario.worker("w1")
    (told,) = await scenario.submit(shop.tell.call(30, 0.05))
    await scenario.wait_started(told)
    await admin.config_set("maxmemory", "1mb")
    record = await scenario.wait_finished(told)
    assert (record.state, record.attempt) == (State.SUCCEEDED, 1)
    assert text_by_attempt(await scenario.event_log(told)) == ["".join(f"{number} " for number in range(30))]


async def test_every_202_around_sigkill_of_the_server_is_one_job(
    scenario: ProcessScenario, server: RunningServer
) -> None:
    _, client = await scenario.api()
    answers: dict[str, int] = {}

    async def submit(number: int) -> None:
        for turn in range(EACH):
            job = f"job-{number}-{turn}"
            answers[job] = (await client.post(f"/sums/{job}", params={"a": number, "b": turn})).status_code

    submitting = [asyncio.create_task(submit(number)) for number in range(SUBMITTERS)]
    await until(lambda: len(answers) >= SUBMITTERS, "many have been answered, many have not")
    server.stop(signal.SIGKILL)
    assert len(answers) < SUBMITTERS * EACH, "some are under way"
    await asyncio.to_thread(server.start)
    await asyncio.gather(*submitting)
    accepted = [job for job, status in answers.items() if status == ACCEPTED]
    assert set(answers.values()) <= {ACCEPTED, UNAVAILABLE}
    there = [record.id for record in await scenario.store.list_jobs(Query(limit=1000))]
    assert len(there) == len(set(there))
    assert set(accepted) <= set(there) <= set(answers)
    await scenario.worker("w1")
    assert {(record.state, record.attempt) for record in await scenario.wait_all_finished(accepted)} == {
        (State.SUCCEEDED, 1)
    }


@pytest.mark.long
async def test_stream_open_across_a_machine_crash_reports_a_gap_and_continues_to_the_end(
    scenario: ProcessScenario, server: RunningServer
) -> None:
    await scenario.worker("w1")
    _, client = await scenario.api()
    words, seen = 60, list[ServerEvent]()
    left = 0
    params = {"words": words, "pace": 0.03}
    async with client.stream("POST", "/stories", params=params, headers={"Accept": "text/event-stream"}) as response:
        async for event in server_events(response):
            seen.append(event)
            if event.name == "token" and event.data["text"] == "15 ":
                left = server.written
            if event.name == "token" and event.data["text"] == "30 ":
                server.crash(left)
                server.start()
    job = seen[0].data["id"]
    names = [event.name for event in seen if event.name != "token"]
    assert names == ["job", "gap", "gap", "end"]
    again, hole = [event for event in seen if event.name == "gap"]
    assert (again.id, again.data) == ("", {}), "all that is left follows"
    assert hole.id
    replayed = [
        event.data["text"] for event in seen[[event.name for event in seen].index("gap") :] if event.name == "token"
    ]
    assert replayed == [data["text"] for name, data in await scenario.event_log(job) if name == "token"]
    said = [int(text) for text in replayed]
    assert said == sorted(set(said))
    assert said[:16] == list(range(16))
    assert said[-1] == words - 1
    assert 20 < len(said) < words, "the tail that was lost is not in the log"
    assert hole.data == {"missing": words - len(said)}, "and readers are told how much is missing"
    record = await scenario.wait_finished(job)
    assert (record.state, record.attempt) == (State.SUCCEEDED, 1)
    assert seen[-1].data["result"] == "".join(f"{number} " for number in range(words)), "the task itself went on"
