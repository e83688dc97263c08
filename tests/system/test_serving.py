"""`sidelane remote-worker` in real processes: what becomes of a job whose worker is killed, or told to stop, in the middle."""

import signal
import sys

from sidelane.model.job import State
from tests.system.far_shop import OFFERS, RESULTS, hold
from tests.system.processes import SHOP, Processes, Started
from tests.system.scene import Scene
from tests.system.waiting import until
from tests.transports.moto import Moto

FAR = "tests.system.far_shop:lane"


def serve(processes: Processes, name: str, **settings: str) -> Started:
    """Start a worker that has no store, and must need none."""
    command = [sys.executable, "-m", "sidelane.cli", "remote-worker", SHOP, "--name", name]
    command += ["--concurrency", "1"]  # so that none asks for more: moto gives messages to those who have gone, too
    addresses = ["--receive-from", f"sqs://{OFFERS}", "--reply-to", f"sqs://{RESULTS}"]
    none = {"SIDELANE_STORE": "sqlite:////nowhere/at/all.db"}
    return processes.start(name, *command, *addresses, SHOP_WORKER=name, **none, **settings)


async def test_what_a_killed_worker_and_a_stopped_one_leave_is_done_by_the_next_and_ends_once(
    moto: Moto, scene: Scene
) -> None:
    offers, results = moto.queue(OFFERS), moto.queue(RESULTS)
    await scene.worker("home", FAR)
    killed = serve(scene.processes, "killed")
    (job,) = await scene.submit(hold.call({}))
    await until(
        lambda: [note["worker"] for note in scene.processes.diary("start", job)] == ["killed"], "it begins", within=30
    )
    killed.kill()
    stopped = serve(scene.processes, "stopped", SIDELANE_LEASE_DURATION="120", SIDELANE_SHUTDOWN_TIMEOUT="0")
    await until(lambda: len(scene.processes.diary("start", job)) == 2, "it comes again", within=30)
    assert not (await scene.record(job)).state.finished
    stopped.signal(signal.SIGTERM)
    scene.processes.open_gate("last")
    last = serve(scene.processes, "last")
    record = await scene.ended(job, within=30)
    assert (record.state, record.result) == (State.SUCCEEDED, '"last"')
    assert (record.attempt, record.failures, record.worker_losses, record.ends) == (1, 0, 0, 1)
    assert [note["worker"] for note in scene.processes.diary("start", job)] == ["killed", "stopped", "last"]
    assert stopped.process.wait(10) == 0
    last.signal(signal.SIGTERM)
    assert last.process.wait(10) == 0
    assert moto.count(offers) == moto.count(results) == 0
