"""Slots of limits are freed, whatever happens to workers."""

import time
from collections.abc import Callable

import pytest

from sidelane import State
from sidelane.model.job import Rejection, Submission
from tests.system import limits_app
from tests.system.process_scenario import ProcessScenario
from tests.system.store_urls import ON_BOTH_STORES
from tests.system.waiting import until

SHOP = "tests.system.limits_app:lane"

GUESTS, SCREENS = 10, 2

RUNNING = {"rooms/stay": limits_app.ROOMS, **{f"screens/{number}": 1 for number in range(SCREENS)}}
"""The limits that count what runs, and what they hold at most."""


@ON_BOTH_STORES
@pytest.mark.row("R5")
async def test_limits_are_free_after_sigkill_of_all_workers_and_a_repeated_submit_is_accepted(
    scenario: ProcessScenario, lease: float, record_property: Callable[[str, object], None]
) -> None:
    await scenario.api()  # somebody has to sweep
    workers = [await scenario.worker(name, SHOP) for name in ("w1", "w2")]
    shows = [limits_app.show.options(id=f"show-{number}").call(str(number)) for number in range(SCREENS)]
    stays = [limits_app.stay.options(id=f"stay-{number}", user=f"u{number}").call() for number in range(GUESTS)]
    jobs = await scenario.submit(*shows, *stays)

    async def held(limits: dict[str, int]) -> bool:
        found = {limit.id: limit.used for limit in await scenario.store.limits()}
        return {name: found.get(name, 0) for name in limits} == limits

    async def full() -> bool:
        return len(scenario.processes.notes("start")) == sum(RUNNING.values()) and await held(RUNNING)

    await until(full, "all that may run does")
    guests = {f"guests/u{number}": 1 for number in range(GUESTS)}
    assert await held(guests)
    assert isinstance(await submitted_again(scenario), Submission)

    killed = time.monotonic()
    for worker in workers:
        worker.kill()
    await until(lambda: held(dict.fromkeys(RUNNING, 0)), "nothing holds a slot of what runs", within=lease + 2)
    record_property("slots_free_after_sigkill_s", round(time.monotonic() - killed, 2))
    assert await held(guests), "who waits at the door is still a guest"
    assert isinstance(await submitted_again(scenario), Submission)
    (refused,) = await scenario.store.submit([limits_app.stay.options(user="u0").call().spec()])
    assert isinstance(refused, Rejection)
    assert [reached.limit.id for reached in refused.reached] == ["guests/u0"]

    for name in ("w3", "w4"):
        await scenario.worker(name, SHOP)
    await until(full_again(scenario), "as many run again")
    assert await held(RUNNING)
    (scenario.processes.folder / "house").touch()
    records = await scenario.wait_all_finished(jobs)
    assert {record.state for record in records} == {State.SUCCEEDED}
    assert sum(record.worker_losses for record in records) == sum(RUNNING.values())
    assert await scenario.store.limits() == []


async def submitted_again(scenario: ProcessScenario) -> Submission | Rejection:
    """Submit a job that there is, as a client does whose reply was lost; it is not made anew."""
    (answer,) = await scenario.store.submit([limits_app.stay.options(id="stay-0", user="u0").call().spec()])
    assert isinstance(answer, Rejection) or not answer.created
    return answer


def full_again(scenario: ProcessScenario) -> Callable[[], bool]:
    def full() -> bool:
        starts = [note for note in scenario.processes.notes("start") if note["worker"] in {"w3", "w4"}]
        return len(starts) >= sum(RUNNING.values())

    return full
