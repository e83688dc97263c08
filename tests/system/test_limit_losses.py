"""Whatever happens to workers, nobody keeps a slot that nobody holds."""

import time
from collections.abc import Callable

from sidelane import State
from sidelane.model.job import Rejection, Submission
from tests.system import limited_shop
from tests.system.places import ON_BOTH_STORES
from tests.system.scene import Scene
from tests.system.waiting import until

SHOP = "tests.system.limited_shop:lane"

GUESTS, SCREENS = 10, 2

RUNNING = {"rooms/stay": limited_shop.ROOMS, **{f"screens/{number}": 1 for number in range(SCREENS)}}
"""The limits that count what runs, and what they hold at most."""


@ON_BOTH_STORES
async def test_after_the_sigkill_of_all_workers_no_slot_is_left_held_and_a_repeated_submit_meets_none(
    scene: Scene, lease: float, record_property: Callable[[str, object], None]
) -> None:
    await scene.api()  # somebody has to sweep
    workers = [await scene.worker(name, SHOP) for name in ("w1", "w2")]
    shows = [limited_shop.show.options(id=f"show-{number}").call(str(number)) for number in range(SCREENS)]
    stays = [limited_shop.stay.options(id=f"stay-{number}", user=f"u{number}").call() for number in range(GUESTS)]
    jobs = await scene.submit(*shows, *stays)

    async def held(limits: dict[str, int]) -> bool:
        found = {limit.id: limit.held for limit in await scene.store.limits()}
        return {name: found.get(name, 0) for name in limits} == limits

    async def full() -> bool:
        return len(scene.processes.diary("start")) == sum(RUNNING.values()) and await held(RUNNING)

    await until(full, "all that may run does")
    guests = {f"guests/u{number}": 1 for number in range(GUESTS)}
    assert await held(guests)
    assert isinstance(await submitted_again(scene), Submission)

    killed = time.monotonic()
    for worker in workers:
        worker.kill()
    await until(lambda: held(dict.fromkeys(RUNNING, 0)), "nothing holds a slot of what runs", within=lease + 2)
    record_property("slots_free_after_sigkill_s", round(time.monotonic() - killed, 2))
    assert await held(guests), "who waits at the door is still a guest"
    assert isinstance(await submitted_again(scene), Submission)
    (refused,) = await scene.store.submit([limited_shop.stay.options(user="u0").call().spec()])
    assert isinstance(refused, Rejection)
    assert [reached.limit.id for reached in refused.reached] == ["guests/u0"]

    for name in ("w3", "w4"):
        await scene.worker(name, SHOP)
    await until(full_again(scene), "as many run again")
    assert await held(RUNNING)
    (scene.processes.folder / "house").touch()
    records = await scene.finished(jobs)
    assert {record.state for record in records} == {State.SUCCEEDED}
    assert sum(record.worker_losses for record in records) == sum(RUNNING.values())
    assert await scene.store.limits() == []


async def submitted_again(scene: Scene) -> Submission | Rejection:
    """Submit a job that there is, as a client does whose reply was lost; it is not made anew."""
    (answer,) = await scene.store.submit([limited_shop.stay.options(id="stay-0", user="u0").call().spec()])
    assert isinstance(answer, Rejection) or not answer.created
    return answer


def full_again(scene: Scene) -> Callable[[], bool]:
    def full() -> bool:
        starts = [note for note in scene.processes.diary("start") if note["worker"] in {"w3", "w4"}]
        return len(starts) >= sum(RUNNING.values())

    return full
