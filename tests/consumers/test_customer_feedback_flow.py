"""A backend and an AI worker that talk over Pub/Sub only: requests in, results and failures out, each once."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from sidelane import Call, FinishedJob, Message, MessageCallback, PermanentFailure, PubSub, Sidelane
from tests.system.waiting import until
from tests.transports.pubsub import RunningPubSub


class Feedback(BaseModel):
    """What the backend publishes."""

    memberId: int  # noqa: N815 - the backend's own name
    content: str


@pytest.mark.row("R14")
async def test_every_request_is_answered_in_the_backends_format_and_poison_messages_are_dead_lettered(
    pubsub: RunningPubSub, tmp_path: Path
) -> None:
    requests_topic, results_topic = pubsub.topic(), pubsub.topic()
    dead_topic = pubsub.topic()
    dead, results = pubsub.subscription(dead_topic), pubsub.subscription(results_topic)
    requests = pubsub.subscription(requests_topic, dead_letters=dead_topic)
    lane = Sidelane(store=f"sqlite:///{tmp_path / 'jobs.db'}")
    written: list[int] = []

    @lane.callback_payload
    def for_backend(ended: FinishedJob) -> dict[str, Any]:
        content = ended.problem["status"] if ended.problem else ended.result
        return {"memberId": ended.arguments["feedback"]["memberId"], "content": content}

    @lane.task(callback=MessageCallback(to=PubSub(topic=results_topic), body=for_backend))
    async def write_feedback(feedback: Feedback) -> str:
        written.append(feedback.memberId)
        if feedback.content == "too much":
            raise PermanentFailure("the model is overloaded", status=502)
        return f"thanks for {feedback.content}"

    @lane.consumer(PubSub(subscription=requests))
    def feedback_requests(message: Message) -> Call[str]:
        return write_feedback.call(Feedback.model_validate_json(message.body))

    pubsub.misbehave(duplicate=0.5, seed=7)
    for member in range(10):
        pubsub.publish(requests_topic, json.dumps({"memberId": member, "content": "a leaf"}))
    pubsub.publish(requests_topic, json.dumps({"memberId": 66, "content": "too much"}))
    pubsub.publish(requests_topic, '{"memberId": 13, "conte')
    answers: dict[int, set[Any]] = {}

    def hear() -> bool:
        (message,) = pubsub.pull(results)
        told = json.loads(message.data)
        answers.setdefault(told["memberId"], set()).add(told["content"])
        return len(answers) == 11

    async with lane.open(workers=1):
        await until(lambda: asyncio.to_thread(hear), "every answer", within=20)
        (letter,) = await asyncio.to_thread(pubsub.pull, dead)
    assert answers == {**{member: {"thanks for a leaf"} for member in range(10)}, 66: {502}}
    assert sorted(written) == [*range(10), 66]
    assert letter.data == b'{"memberId": 13, "conte'
    assert letter.attributes["reason"].startswith("Feedback: Invalid JSON: EOF")
