"""A server that is asked to stop does not wait for open streams, and their clients continue at the next one."""

import asyncio
import signal
import time

import pytest

from examples.stock_chat.demo.server_events import ServerEvent, server_events
from sidelane.model.job import Query
from tests.system.process_scenario import ProcessScenario
from tests.system.waiting import until

WORDS = 30
EVENTS = {"Accept": "text/event-stream"}


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
async def test_open_streams_end_within_a_second_and_continue_at_the_next_server(
    scenario: ProcessScenario, number: signal.Signals
) -> None:
    await scenario.worker("w1")
    api, client = await scenario.api()
    events: list[ServerEvent] = []
    asked = 0.0
    async with client.stream("POST", "/stories", params={"words": WORDS, "pace": 0.1}, headers=EVENTS) as response:
        async for event in server_events(response):
            events.append(event)
            if event.name == "token" and not asked:
                api.signal(number)
                asked = time.monotonic()
    ended = time.monotonic()
    await until(lambda: api.exited, "the server stops")
    assert ended - asked < 1.0
    assert time.monotonic() - asked < 3.0
    assert "Traceback" not in api.log.read_text()
    assert events[-1].name == "token"

    _, client = await scenario.api()
    resumed = {**EVENTS, "Last-Event-ID": events[-1].id}
    async with client.stream("POST", "/stories", params={"words": WORDS, "pace": 0.1}, headers=resumed) as response:
        events += [event async for event in server_events(response)]
    texts = [event.data["text"] for event in events if event.name == "token"]
    assert texts == [f"{word} " for word in range(WORDS)]
    assert events[-1].name == "end"
    assert len(scenario.processes.notes("start")) == 1


async def test_a_request_that_waits_is_answered_202_when_the_server_stops(scenario: ProcessScenario) -> None:
    api, client = await scenario.api()
    waiting = asyncio.create_task(client.post("/holds", headers={"Prefer": "wait=30"}))

    async def submitted() -> bool:
        return bool(await scenario.store.list_jobs(Query()))

    await until(submitted, "the job is submitted")
    api.signal(signal.SIGTERM)
    answer = await asyncio.wait_for(waiting, 5)
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    await until(lambda: api.exited, "the server stops")
