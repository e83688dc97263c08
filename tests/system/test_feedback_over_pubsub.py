"""A backend and a worker connected by Google Pub/Sub only: every request has one outcome."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.system.process_scenario import ProcessScenario
from tests.system.waiting import until
from tests.transports.pubsub import RunningPubSub, subscription_path, topic_path

WORKER = "tests.system.feedback_service:lane"


class Backend:
    """The backend, with Google's own client."""

    def __init__(self, service: RunningPubSub) -> None:
        self._service = service

    def ask(self, body: str | dict[str, Any]) -> str:
        """Publish a request, and give the message's id."""
        text = body if isinstance(body, str) else json.dumps(body)
        return self._service.publish("leafresh-feedback-topic", text)

    async def answers(self, count: int) -> list[dict[str, Any]]:
        """Take so many results."""
        return [json.loads(message.data) for message in await self._take("leafresh-feedback-result-sub", count)]

    async def dead_letters(self, count: int) -> list[Any]:
        return await self._take("leafresh-feedback-result-dlq-sub", count)

    def nothing_is_left(self) -> bool:
        """Return whether no request, no result and no dead letter is there any more."""
        return all(self._service.empty(name) for name in SUBSCRIPTIONS)

    async def _take(self, subscription: str, count: int) -> list[Any]:
        return await asyncio.to_thread(self._service.pull, subscription, count)


SUBSCRIPTIONS = {
    "leafresh-feedback-sub": "leafresh-feedback-topic",
    "leafresh-feedback-result-sub": "leafresh-feedback-result-topic",
    "leafresh-feedback-result-dlq-sub": "leafresh-feedback-result-dlq-topic",
}


@pytest.fixture
def backend(pubsub: RunningPubSub) -> Iterator[Backend]:
    for subscription, topic in SUBSCRIPTIONS.items():
        pubsub.subscription(pubsub.topic(topic), subscription)
    yield Backend(pubsub)
    for subscription, topic in SUBSCRIPTIONS.items():
        pubsub.subscriber.delete_subscription(subscription=subscription_path(subscription))
        pubsub.publisher.delete_topic(topic=topic_path(topic))


@asynccontextmanager
async def supervised(scenario: ProcessScenario, service: RunningPubSub) -> AsyncIterator[None]:
    """Run a worker, and start it again whenever it has died."""

    async def keep() -> None:
        while True:
            worker = scenario.processes.worker("w", WORKER, **service.environment)
            await until(lambda: worker.exited, "w dies", within=100)  # noqa: B023 - awaited at once

    keeping = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeping.cancel()


@pytest.mark.row("R14")
async def test_every_request_is_answered_and_malformed_ones_are_dead_letters(
    scenario: ProcessScenario, backend: Backend, pubsub: RunningPubSub
) -> None:
    await scenario.worker("w", WORKER, **pubsub.environment)
    backend.ask({"memberId": 3, "content": "walked to school"})
    assert await backend.answers(1) == [{"memberId": 3, "content": "Well done: walked to school"}]

    backend.ask({"memberId": 3, "content": "upstream is down"})
    assert await backend.answers(1) == [{"memberId": 3, "content": 502}]
    (letter,) = await backend.dead_letters(1)
    assert json.loads(letter.data)["problem"]["detail"] == "The language model does not answer."

    for malformed, reason in (('{"memberId": 3', "JSON"), ('{"memberId": "none", "content": "x"}', "memberId")):
        backend.ask(malformed)
        (letter,) = await backend.dead_letters(1)
        assert letter.data.decode() == malformed
        assert reason in letter.attributes["reason"]

    pubsub.misbehave(duplicate=1.0)
    backend.ask({"memberId": 4, "content": "twice"})
    pubsub.misbehave()
    assert await backend.answers(1) == [{"memberId": 4, "content": "Well done: twice"}]
    await until(backend.nothing_is_left, "both of the doubled message are acknowledged")
    assert len(scenario.processes.notes("start")) == 3


@pytest.mark.row("R14")
@pytest.mark.long
async def test_killed_worker_costs_one_more_attempt_and_the_answer_is_sent_once(
    scenario: ProcessScenario, backend: Backend, pubsub: RunningPubSub
) -> None:
    async with supervised(scenario, pubsub):
        backend.ask({"memberId": 3, "content": "slow"})
        (note,) = await until(lambda: scenario.processes.notes("start"), "it starts", within=20)
        (worker,) = scenario.processes.named("w")
        worker.kill()
        await scenario.wait_started(note["job"], 2, within=20)
        (scenario.processes.folder / "advised").touch()
        assert await backend.answers(1) == [{"memberId": 3, "content": "Well done: slow"}]
        await until(backend.nothing_is_left, "the request is acknowledged, and there was one answer")
    assert [note["attempt"] for note in scenario.processes.notes("start")] == [1, 2]


@pytest.mark.row("R14")
async def test_request_that_kills_its_workers_becomes_a_dead_letter(
    scenario: ProcessScenario, backend: Backend, pubsub: RunningPubSub
) -> None:
    async with supervised(scenario, pubsub):
        backend.ask({"memberId": 3, "content": "poison"})
        (letter,) = await backend.dead_letters(1)
        (answer,) = await backend.answers(1)
        backend.ask({"memberId": 5, "content": "and on it goes"})
        assert await backend.answers(1) == [{"memberId": 5, "content": "Well done: and on it goes"}]
    assert (answer["memberId"], answer["content"] >= 500) == (3, True)
    told = json.loads(letter.data)
    assert (told["asked"], told["attempts"]) == ({"memberId": 3, "content": "poison"}, 2)
    assert "worker" in told["problem"]["detail"]
