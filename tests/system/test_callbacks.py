"""A worker that is killed while it delivers a callback loses it to another, which delivers it as the same."""

import asyncio

from sidelane import State, Webhook
from tests.callbacks.local_receivers import receiving, stalled
from tests.system import telling
from tests.system.places import ON_EVERY_STORE
from tests.system.scene import Scene

LANE = "tests.system.telling:lane"

NAMES = ("w1", "w2")


@ON_EVERY_STORE
async def test_a_callback_whose_worker_is_killed_arrives_under_the_same_id(scene: Scene) -> None:
    workers = dict(zip(NAMES, await asyncio.gather(*(scene.worker(name, LANE) for name in NAMES)), strict=True))
    async with receiving() as receiver:
        receiver.replies = [stalled]
        hook = Webhook(receiver.url, secret="be")
        (job,) = await scene.submit(telling.add.options(callback=hook).call(3, 4))
        await receiver.until(1)  # and it is not answered
        delivering = (await scene.record(f"{job}.1.0")).worker
        workers[str(delivering).partition(":")[0]].kill()
        once, again = await receiver.until(2)
    assert once.headers["webhook-id"] == again.headers["webhook-id"] == f"{job}:1:0"
    told = [got.verify("whsec_c2VjcmV0IG9mIGEgdGVzdA==") for got in (once, again)]
    assert told[0] == told[1]
    assert told[0]["data"]["result"] == 7
    (callback,) = await scene.finished([f"{job}.1.0"])
    assert (callback.state, callback.worker_losses, callback.failures) == (State.SUCCEEDED, 1, 0)
