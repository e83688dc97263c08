"""Stacks on demand from real worker processes: a blocked event loop, and workers that freeze or die."""

import asyncio
import signal

import pytest

from sidelane.admin.stack import JobStack, job_stack
from sidelane.client.client import Client
from sidelane.model.settings import Settings
from sidelane.model.stack import STACK_SLOTS
from sidelane.stores.contract import value_topic
from tests.system import shop
from tests.system.process_scenario import ProcessScenario
from tests.system.store_urls import ON_EVERY_STORE


@pytest.fixture
def lease() -> float:
    """Long, so that no worker ends because its event loop is blocked."""
    return 30.0


async def stack(scenario: ProcessScenario, job: str, timeout: float = 20.0) -> JobStack:
    return await job_stack(Client(scenario.store, settings=Settings()), job, timeout=timeout)


@ON_EVERY_STORE
async def test_blocked_event_loop_is_shown_with_the_code_that_blocks_it(scenario: ProcessScenario) -> None:
    await scenario.worker("w1")
    (held,) = await scenario.submit(shop.hold.call())
    await scenario.wait_started(held)
    before = await stack(scenario, held)
    (blocking,) = await scenario.submit(shop.block.call(60))
    await scenario.wait_started(blocking)
    waits, blocks = await asyncio.gather(stack(scenario, held), stack(scenario, blocking))

    assert before.stack is not None
    assert before.stack.activity == "waits on the event loop"
    assert "in hold\n    await opened(gate_of(WORKER))\n" in before.stack.text
    assert blocks.stack is not None
    assert blocks.stack.activity == "blocks the event loop"
    assert blocks.stack.text.startswith("Stack (most recent call last):\n  File ")
    assert "in block\n    time.sleep(seconds)" in blocks.stack.text
    assert waits.stack is not None
    assert waits.stack.activity == "waits, because other code blocks the event loop"
    own, _, blocker = waits.stack.text.partition("\nStack of the code that blocks the event loop")
    assert "in hold\n" in own
    assert "in block\n" in blocker
    (worker,) = scenario.processes.named("w1")
    worker.kill()


@pytest.mark.long
@ON_EVERY_STORE
async def test_frozen_worker_does_not_answer_and_nothing_is_left(scenario: ProcessScenario) -> None:
    worker = await scenario.worker("w1")
    (held,) = await scenario.submit(shop.hold.call())
    await scenario.wait_started(held)
    worker.signal(signal.SIGSTOP)
    found = await stack(scenario, held, timeout=0.5)
    assert found.stack is None
    assert str(found.notice).startswith("the worker did not answer within 0.5 s")
    assert await scenario.store.read_values(STACK_SLOTS) == [None] * len(STACK_SLOTS)
    worker.kill()


@pytest.mark.long
async def test_worker_that_is_killed_during_a_request_does_not_answer(scenario: ProcessScenario) -> None:
    worker = await scenario.worker("w1")
    (held,) = await scenario.submit(shop.hold.call())
    await scenario.wait_started(held)
    worker.signal(signal.SIGSTOP)
    async with scenario.store.watch(*map(value_topic, STACK_SLOTS)) as changes:
        requesting = asyncio.create_task(stack(scenario, held, timeout=1.0))
        while not any(await scenario.store.read_values(STACK_SLOTS)):
            await changes.wait(1.0)
    worker.kill()
    assert str((await requesting).notice).startswith("the worker did not answer within 1 s")
