"""Remote workers that are killed or stopped in the middle of a job."""

import signal
import sys

import pytest

from sidelane.model.job import State
from tests.system.process_scenario import ProcessScenario
from tests.system.processes import SHOP, Processes, RunningProcess
from tests.system.remote_app import OFFERS, RESULTS, hold
from tests.system.waiting import until
from tests.transports.moto import Moto

LANE = "tests.system.remote_app:lane"


def serve(processes: Processes, name: str, **settings: str) -> RunningProcess:
    """Start a worker that has no store, and must need none."""
    command = [sys.executable, "-m", "sidelane.cli", "remote-worker", SHOP, "--name", name]
    command += ["--concurrency", "1"]  # so that none asks for more: moto gives messages to those who have gone, too
    addresses = ["--receive-from", f"sqs://{OFFERS}", "--reply-to", f"sqs://{RESULTS}"]
    none = {"SIDELANE_STORE": "sqlite:////nowhere/at/all.db"}
    return processes.start(name, *command, *addresses, SHOP_WORKER=name, **none, **settings)


@pytest.mark.long
async def test_job_of_a_killed_and_a_stopped_remote_worker_is_finished_once_by_the_next(
    moto: Moto, scenario: ProcessScenario
) -> None:
    offers, results = moto.queue(OFFERS), moto.queue(RESULTS)
    await scenario.worker("home", LANE)
    killed = serve(scenario.processes, "killed")
    (job,) = await scenario.submit(hold.call({}))
    await until(
        lambda: [note["worker"] for note in scenario.processes.notes("start", job)] == ["killed"],
        "it begins",
        within=30,
    )
    killed.kill()
    stopped = serve(scenario.processes, "stopped", SIDELANE_LEASE_DURATION="120", SIDELANE_SHUTDOWN_TIMEOUT="0")
    await until(lambda: len(scenario.processes.notes("start", job)) == 2, "it comes again", within=30)
    assert not (await scenario.record(job)).state.finished
    stopped.signal(signal.SIGTERM)
    scenario.processes.open_gate("last")
    last = serve(scenario.processes, "last")
    record = await scenario.wait_finished(job, within=30)
    assert (record.state, record.result) == (State.SUCCEEDED, '"last"')
    assert (record.attempt, record.failures, record.worker_losses, record.ends) == (1, 0, 0, 1)
    assert [note["worker"] for note in scenario.processes.notes("start", job)] == ["killed", "stopped", "last"]
    assert stopped.process.wait(10) == 0
    last.signal(signal.SIGTERM)
    assert last.process.wait(10) == 0
    assert moto.count(offers) == moto.count(results) == 0
