"""Cancelling reaches running tasks at once."""

import asyncio
import statistics
from collections.abc import Callable

from sidelane import State
from tests.system import shop
from tests.system.process_scenario import ProcessScenario
from tests.system.store_urls import ON_EVERY_STORE

JOBS = 15


@ON_EVERY_STORE
async def test_cancel_reaches_a_running_task_within_200_ms(
    scenario: ProcessScenario, record_property: Callable[[str, object], None]
) -> None:
    await scenario.worker("w1")
    took = []
    for _ in range(JOBS):
        (job,) = await scenario.submit(shop.hold.call())
        await scenario.wait_started(job)
        await asyncio.sleep(0.03)
        asked = shop.machine_time()
        await scenario.store.cancel([job])
        record = await scenario.wait_finished(job)
        assert record.state is State.CANCELLED
        (stopped,) = scenario.processes.notes("stopped", job)
        took.append((stopped["at"] - asked) * 1000)

    figures = {"p50": statistics.median(took), "longest": max(took)}
    record_property("cancel_ms", {name: round(figure, 1) for name, figure in figures.items()})
    print(f"a cancel reached its task in {figures['p50']:.1f} ms (p50), {figures['longest']:.1f} ms at most")
    assert figures["p50"] < 200
    assert figures["longest"] < 1000
