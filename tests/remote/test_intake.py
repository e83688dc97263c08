"""Intakes: which messages become jobs, how often, and what becomes of the others."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import BaseModel

from sidelane import (
    ArgumentsError,
    Call,
    Concurrent,
    ConfigurationError,
    MalformedMessage,
    Message,
    PubSub,
    Queue,
    Sidelane,
    Sqs,
    State,
)
from sidelane.remote import taking
from sidelane.testing.harness import Harness
from sidelane.transports.cloudevents import CloudEvent, read, write
from tests.transports.moto import Moto
from tests.transports.pubsub import RunningPubSub
from tests.web.clients import until

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Feedback(BaseModel):
    """What the backend sends."""

    member: int
    content: str


@pytest.fixture
def lane() -> Sidelane:
    return Sidelane(queues=[Queue("narrow", max_queued=1)], store="sqlite://:memory:")


@pytest.fixture
def write_back(lane: Sidelane) -> Any:
    @lane.task(queue="narrow")
    async def write_back(feedback: Feedback) -> str:
        return f"{feedback.member}: {feedback.content}"

    return write_back


def body(member: int = 3, content: str = "good") -> str:
    return json.dumps({"member": member, "content": content})


async def test_a_message_becomes_the_job_that_it_asks_for(lane: Sidelane, write_back: Any) -> None:
    @lane.intake(Sqs("feedback"))
    def requests(message: Message) -> Call[Any]:
        return write_back.options(user="u3").call(Feedback.model_validate_json(message.body))

    async with lane.testing() as t:
        job = await t.take_in(requests, Message(body=body(), id="m1", attributes={"traceparent": TRACE}))
        await t.drain()
        assert job is not None
        assert await job.result() == "3: good"
        record = await job.record()
        assert (record.spec.user, record.spec.trace) == ("u3", TRACE)
