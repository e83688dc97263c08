"""Callbacks of killed workers are delivered again by others, with the same id."""

import asyncio

from sidelane import State, Webhook
from tests.callbacks.local_receivers import receiving, stalled
from tests.system import local_receivers
from tests.system.process_scenario import ProcessScenario
from tests.system.store_urls import ON_EVERY_STORE

LANE = "tests.system.local_receivers:lane"

NAMES = ("w1", "w2")


@ON_EVERY_STORE
async def test_callback_of_a_killed_worker_is_delivered_again_with_the_same_id(scenario: ProcessScenario) -> None:
    workers = dict(zip(NAMES, await asyncio.gather(*(scenario.worker(name, LANE) for name in NAMES)), strict=True))
    async with receiving() as receiver:
        receiver.replies = [stalled]
        hook = Webhook(receiver.url, secret="be")
        (job,) = await scenario.submit(local_receivers.add.options(callback=hook).call(3, 4))
        await receiver.until(1)  # and it is not answered
        delivering = (await scenario.record(f"{job}.1.0")).worker
        workers[str(delivering).partition(":")[0]].kill()
        once, again = await receiver.until(2)
    assert once.headers["webhook-id"] == again.headers["webhook-id"] == f"{job}:1:0"
    told = [got.verify("whsec_dGhlIHNlY3JldCBvZiB0aGVzZSB0ZXN0cw==") for got in (once, again)]
    assert told[0] == told[1]
    assert told[0]["data"]["result"] == 7
    (callback,) = await scenario.wait_all_finished([f"{job}.1.0"])
    assert (callback.state, callback.worker_losses, callback.failures) == (State.SUCCEEDED, 1, 0)
