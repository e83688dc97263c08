"""External tasks: dispatched over SQS to a worker without this package, completed over SQS or HTTP, whatever is killed."""

import socket
import sys
from collections.abc import Iterator

import pytest
from httpx2 import AsyncClient

from sidelane.model.job import State
from tests.system.external_app import (
    OFFERS,
    OFFERS_BY_HTTP,
    OFFERS_THAT_KILL,
    RESULTS,
    Text,
    count,
    count_or_die,
)
from tests.system.process_scenario import ProcessScenario
from tests.system.processes import ROOT, Processes, RunningProcess
from tests.system.waiting import until
from tests.transports.moto import Moto

LANE = "tests.system.external_app:lane"

HOLD = "1"
"""Seconds after which an offer comes again whose worker has died."""


@pytest.fixture(scope="module")
def queues(moto_server: Moto) -> Iterator[dict[str, str]]:
    """The URLs of the queues by name. What kills whoever takes it from one of them is put aside after its first time."""
    made = {name: moto_server.queue(name) for name in (OFFERS, RESULTS, OFFERS_BY_HTTP, "dead")}
    made[OFFERS_THAT_KILL] = moto_server.queue(OFFERS_THAT_KILL, dead_letters=made["dead"], losses=1)
    with pytest.MonkeyPatch.context() as patch:  # for the processes of this module
        for name, value in moto_server.environment.items():
            patch.setenv(name, value)
        yield made


@pytest.fixture(scope="module")
def address() -> str:
    """Where the HTTP service will be: offers tell it, so it must be known before."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory, queues: dict[str, str], address: str) -> Iterator[Processes]:
    """The processes of this module, on one store: the HTTP service, one worker, and the foreign ones of each test."""
    folder = tmp_path_factory.mktemp("outside")
    found = Processes(folder, f"sqlite:///{folder / 'jobs.db'}", lease=3.0)
    uvicorn = ["-m", "uvicorn", "tests.system.external_api:app", "--port", address.rpartition(":")[2]]
    found.start("api", sys.executable, *uvicorn, "--loop", "asyncio", "--http", "h11", SHOP_JOBS_URL=f"{address}/jobs")
    yield found
    found.stop()
    print(found.report())


@pytest.fixture
async def worker(scenario: ProcessScenario, address: str) -> RunningProcess:
    """The one worker of the lane, which does no work itself."""
    running = [each for each in scenario.processes.named("worker") if not each.exited]
    return running[0] if running else await scenario.worker("worker", LANE, SHOP_JOBS_URL=f"{address}/jobs")


def foreign(processes: Processes, queues: dict[str, str], offers: str, **environment: str) -> RunningProcess:
    """Start a worker that knows nothing of us."""
    program = str(ROOT / "examples" / "external_worker.py")
    return processes.start("foreign", sys.executable, "-I", program, OFFERS=queues[offers], HOLD=HOLD, **environment)


@pytest.fixture
def counter(processes: Processes, queues: dict[str, str]) -> Iterator[RunningProcess]:
    """A foreign worker that answers on the result queue."""
    started = foreign(processes, queues, OFFERS, RESULTS=queues[RESULTS])
    yield started
    started.kill()


@pytest.mark.usefixtures("worker")
@pytest.mark.row("R23")
async def test_external_worker_replies_on_the_result_queue(
    scenario: ProcessScenario, counter: RunningProcess, moto: Moto, queues: dict[str, str]
) -> None:
    (job,) = await scenario.submit(count.call(Text(text="one two three")))
    record = await scenario.wait_finished(job)
    assert (record.state, record.result) == (State.SUCCEEDED, '{"words":3}')
    names = [(name, data.get("percent")) for name, data in await scenario.event_log(job)]
    assert names == [("progress", 10), ("end", None)]
    await until(lambda: moto.count(queues[OFFERS]) == moto.count(queues[RESULTS]) == 0, "both queues are empty")


@pytest.mark.usefixtures("worker", "counter")
async def test_failure_of_an_external_worker_fails_the_job(scenario: ProcessScenario) -> None:
    (job,) = await scenario.submit(count.call(Text(text=" ")))
    record = await scenario.wait_finished(job)
    assert record.state is State.FAILED
    assert record.problem is not None
    assert record.problem.status == 422
    assert record.attempt == 1


@pytest.mark.usefixtures("worker")
async def test_dispatch_delivered_twice_ends_its_job_once(
    scenario: ProcessScenario, moto: Moto, processes: Processes, queues: dict[str, str]
) -> None:
    (job,) = await scenario.submit(count.call(Text(text="one two")))
    await until(lambda: moto.count(queues[OFFERS]) == 1, "it is offered")
    (offer,) = moto.sqs.receive_message(QueueUrl=queues[OFFERS], VisibilityTimeout=0, WaitTimeSeconds=5)["Messages"]
    moto.sqs.send_message(QueueUrl=queues[OFFERS], MessageBody=offer["Body"])
    counter = foreign(processes, queues, OFFERS, RESULTS=queues[RESULTS])
    try:
        await until(lambda: counter.log.read_text().count(job) >= 2, "it is counted twice")
        await until(lambda: moto.count(queues[OFFERS]) == moto.count(queues[RESULTS]) == 0, "all is answered")
    finally:
        counter.kill()
    record = await scenario.wait_finished(job)
    assert (record.state, record.attempt, record.ends, record.worker_losses) == (State.SUCCEEDED, 1, 1, 0)
    assert [name for name, _ in await scenario.event_log(job)] == ["progress", "end"]


@pytest.mark.usefixtures("worker")
async def test_dispatch_of_a_killed_external_worker_is_run_again(
    scenario: ProcessScenario, counter: RunningProcess, processes: Processes, queues: dict[str, str]
) -> None:
    (job,) = await scenario.submit(count.call(Text(text="one two three four", seconds=0.6)))

    async def begun() -> bool:
        return (await scenario.record(job)).progress is not None

    await until(begun, "it has begun")
    counter.kill()
    other = foreign(processes, queues, OFFERS, RESULTS=queues[RESULTS])
    try:
        record = await scenario.wait_finished(job)
    finally:
        other.kill()
    assert other.logged(f"counting for {job}")
    assert (record.state, record.result) == (State.SUCCEEDED, '{"words":4}')
    assert (record.attempt, record.worker_losses, record.ends) == (1, 0, 1)
    assert [name for name, _ in await scenario.event_log(job)] == ["progress", "end"]


@pytest.mark.long
@pytest.mark.usefixtures("worker")
async def test_dispatch_that_kills_external_workers_is_dead_lettered_and_its_job_fails(
    scenario: ProcessScenario, moto: Moto, processes: Processes, queues: dict[str, str]
) -> None:
    (job,) = await scenario.submit(count_or_die.call(Text(text=None)))  # whose worker expects a text
    victims: list[RunningProcess] = []

    async def over() -> bool:
        if not victims or victims[-1].exited:  # as whatever supervises it would
            victims.append(foreign(processes, queues, OFFERS_THAT_KILL, RESULTS=queues[RESULTS]))
        return (await scenario.record(job)).state.finished and moto.count(queues["dead"]) == 2

    try:
        await until(over, "the job has ended and its offers are put aside", within=30.0)
    finally:
        for victim in victims:
            victim.kill()
    record = await scenario.record(job)
    assert (record.state, record.worker_losses, record.attempt) == (State.FAILED, 2, 2)
    assert sum(victim.logged("AttributeError") for victim in victims) == 2  # once for each hand-over


@pytest.mark.usefixtures("worker")
@pytest.mark.row("R23")
async def test_external_worker_replies_over_http(processes: Processes, address: str, queues: dict[str, str]) -> None:
    (api,) = processes.named("api")
    counter = foreign(processes, queues, OFFERS_BY_HTTP)
    try:
        await until(lambda: api.logged("running on"), "the service listens", within=20.0)
        async with AsyncClient(base_url=address, timeout=20.0, trust_env=False) as client:
            counted = await client.post("/counts", json={"text": "one two three"}, headers={"Prefer": "wait=15"})
            assert (counted.status_code, counted.json()) == (200, {"words": 3})
            refused = await client.post("/counts", json={"text": ""}, headers={"Prefer": "wait=15"})
            assert refused.status_code == 422
    finally:
        counter.kill()
