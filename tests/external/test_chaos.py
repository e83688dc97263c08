"""Chaos test: whatever happens to the messages, each dispatch ends in one outcome, the correct one."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from sidelane import ConcurrencyLimit, Fixed, PubSub, Retry, Sidelane, Sqs, State
from sidelane.transports.factory import TransportPool
from tests.external.conftest import MakeLane
from tests.external.external_worker import ExternalWorker, working
from tests.transports.moto import Moto
from tests.transports.pubsub import RunningPubSub

KINDS = ("well", "well", "well", "lost", "twice", "late", "forged", "swapped", "failed", "wrong")


class Unreliable:
    """An external worker that doubles its input, and misbehaves at random for some attempts of a job.

    What it answers wrongly it has no right to.
    """

    def __init__(self, seed: int, mischief: int) -> None:
        self._random = random.Random(seed)
        self._mischief = mischief
        self._before: dict[str, Any] | None = None
        self.happened: Counter[str] = Counter()

    async def __call__(self, external: ExternalWorker, dispatched: dict[str, Any]) -> None:
        right, wrong = {"result": dispatched["input"] * 2}, {"result": -1}
        before, self._before = self._before, dispatched
        kind = self._random.choice(KINDS) if dispatched["attempt"] <= self._mischief else "well"
        self.happened[kind] += 1
        match kind:
            case "lost":
                return
            case "twice":
                await asyncio.gather(external.complete(dispatched, right), external.complete(dispatched, right))
                await external.complete(dispatched, right)
            case "late":
                await asyncio.sleep(dispatched["timeout"] + self._random.random())
                await external.complete(dispatched, right)
            case "forged":
                await external.complete(dispatched, wrong, token=dispatched["token"][:-4] + "AAAA")
            case "swapped" if before is not None and before["job"] != dispatched["job"]:  # a job may be delivered twice
                await external.complete(dispatched, wrong, token=before["token"])
            case "failed":
                await external.complete(dispatched, {"problem": {"status": 503, "detail": "try again"}})
            case "wrong":
                await external.complete(dispatched, {"result": "four"})
            case _:
                await external.complete(dispatched, right)


async def check(
    lane: Sidelane, via: Any, reply: Any, count: int, *, timeout: float, mischief: int, empty: Callable[[], bool]
) -> dict[str, int]:
    """Dispatch some jobs, and compare every outcome with its input once all replies are read.

    No more than a hundred are outside at once: moto takes seconds for a message where a thousand wait.
    """
    double = lane.external_task(
        "double", input=int, result=int, send_to=via, replies_from=reply, timeout=timeout, max_worker_losses=100,
        retry=Retry(attempts=100, backoff=Fixed(0.1)), limits=[ConcurrencyLimit(100, per="task", on_limit="wait")],
    )  # fmt: skip
    transports = TransportPool()
    dispatched_jobs, replies = (
        await transports.get(receiving_endpoint(via)),
        await transports.get(sending_endpoint(reply)),
    )
    behave = Unreliable(count, mischief)
    async with lane.open(workers=1), working(dispatched_jobs, replies, behave) as external:
        batch = await lane.submit_many(double.call(number) for number in range(count))
        jobs = [job for job in batch.jobs if job is not None]
        results = await asyncio.gather(*(job.result(timeout=900) for job in jobs))
        assert results == [number * 2 for number in range(count)]
        await external.idle()  # late replies are sent now
        while not await asyncio.to_thread(empty):
            await asyncio.sleep(0.1)
        records = await asyncio.gather(*(job.record() for job in jobs))
    expected = [(State.SUCCEEDED, str(number * 2), 1) for number in range(count)]
    assert [(record.state, record.result, record.ends) for record in records] == expected
    assert len(behave.happened) > 5
    assert sum(record.worker_losses for record in records) > 0
    return behave.happened


def receiving_endpoint(via: Any) -> Any:
    """Return the endpoint that the external worker receives from."""
    return via if isinstance(via, Sqs) else PubSub(subscription=f"{via.topic}-sub")


def sending_endpoint(reply: Any) -> Any:
    """Return the endpoint that the external worker sends to."""
    return reply if isinstance(reply, Sqs) else PubSub(topic=reply.subscription.removesuffix("-sub"))


@pytest.mark.long
@pytest.mark.parametrize(
    ("count", "timeout", "mischief"),
    [(100, 5.0, 1), pytest.param(1000, 8.0, 3, marks=[pytest.mark.soak, pytest.mark.timeout(600)])],
)
@pytest.mark.row("R23")
async def test_every_dispatch_ends_in_one_correct_outcome_over_sqs(
    make_lane: MakeLane, moto: Moto, count: int, timeout: float, mischief: int, record_property: Any
) -> None:
    via, reply = Sqs(moto.queue()), Sqs(moto.queue())
    lane = make_lane(lease_duration=1.0, jobs_url="")
    happened = await check(
        lane, via, reply, count, timeout=timeout, mischief=mischief, empty=lambda: not moto.count(reply.queue)
    )
    record_property(f"{count} dispatches over SQS", dict(happened))


@pytest.mark.long
@pytest.mark.parametrize(
    ("count", "timeout", "mischief"),
    [(40, 4.0, 1), pytest.param(400, 8.0, 3, marks=[pytest.mark.soak, pytest.mark.timeout(600)])],
)
async def test_every_dispatch_ends_in_one_correct_outcome_over_pubsub(
    make_lane: MakeLane, pubsub: RunningPubSub, count: int, timeout: float, mischief: int, record_property: Any
) -> None:
    dispatched_jobs, results = pubsub.topic(), pubsub.topic()
    for topic in (dispatched_jobs, results):
        pubsub.subscription(topic, f"{topic}-sub")
    pubsub.misbehave(lose=0.05, duplicate=0.2, seed=count)
    lane = make_lane(lease_duration=1.0, jobs_url="")
    happened = await check(
        lane, PubSub(topic=dispatched_jobs), PubSub(subscription=f"{results}-sub"), count, timeout=timeout, mischief=mischief,
        empty=lambda: pubsub.empty(f"{results}-sub"),
    )  # fmt: skip
    record_property(f"{count} dispatches over Pub/Sub", dict(happened))
