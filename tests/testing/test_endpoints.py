"""Tests of endpoints: starlette's TestClient with a synchronous harness, and applications within an asynchronous one."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import httpx2
import pytest
from fastapi import Depends, FastAPI, Response
from starlette.testclient import TestClient

from sidelane import Call, Message, Problem, Sidelane, Sqs, Webhook
from sidelane.model.errors import ConfigurationError, JobFailed, LaneNotOpen, ResultNotReady
from sidelane.testing import harness, sync_harness
from sidelane.testing import testing_fixture as make_fixture
from sidelane.web import Jobs, Responder


class Shop:
    """An application as tests of it see it: its store is a file."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "sidelane.db"
        lane = self.lane = Sidelane(store=f"sqlite:///{self.store}")
        jobs = Jobs(lane, user=None)
        app = self.app = FastAPI(lifespan=lane.lifespan)
        app.include_router(jobs.router, prefix="/jobs")

        @lane.task
        async def double(number: int) -> int:
            return 2 * number

        @lane.task
        async def tell() -> AsyncIterator[str]:
            for word in ("Once ", "more"):
                yield word

        @app.post("/double")
        async def post_double(number: int, respond: Annotated[Responder, Depends(jobs.respond)]) -> Response:
            return await respond(double.call(number))

        @app.post("/tell")
        async def post_tell(respond: Annotated[Responder, Depends(jobs.respond)]) -> Response:
            return await respond(tell.call())

        self.double, self.tell = double, tell


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_submitted_job_runs_when_the_test_says_so(shop: Shop) -> None:
    with sync_harness(shop.lane) as t, TestClient(shop.app) as client:
        answer = client.post("/double", params={"number": 21})
        assert (answer.status_code, answer.json()["state"]) == (202, "queued")
        assert t.drain() == 1
        assert client.get(answer.json()["links"]["result"]).json() == 42
        assert t.results(shop.double) == [42]
        assert [record.spec.arguments for record in t.records(shop.double)] == ['{"number":21}']
        assert t.run(shop.double.call(4)) == 8
    assert not shop.store.exists(), "no test writes the project's own store"


def test_request_that_waits_gets_its_result_from_an_eager_harness(shop: Shop) -> None:
    with sync_harness(shop.lane, eager=True), TestClient(shop.app) as client:
        answer = client.post("/double", params={"number": 21}, headers={"Prefer": "wait=10"})
        assert (answer.status_code, answer.json()) == (200, 42)


def test_event_stream_ends_in_an_eager_harness(shop: Shop) -> None:
    with sync_harness(shop.lane, eager=True) as t, TestClient(shop.app) as client:
        answer = client.post("/tell", headers={"Accept": "text/event-stream"})
        assert [line for line in answer.text.split("\n") if line.startswith("event")] == [
            "event: job", "event: token", "event: token", "event: end",
        ]  # fmt: skip
        ((first, *_),) = t.events(shop.tell)
        assert first.name == "token"


def test_messages_callbacks_and_external_workers_need_no_event_loop(shop: Shop) -> None:
    @shop.lane.task(callback=Webhook("https://example.com/doubled"))
    async def reported(number: int) -> int:
        return 2 * number

    external = shop.lane.external_task(
        "external", input=str, result=int, send_to=Sqs("requests"), replies_from=Sqs("replies")
    )

    @shop.lane.consumer(Sqs("orders"))
    def orders(message: Message) -> Call[int] | None:
        return reported.call(int(message.body)) if message.body else None

    with sync_harness(shop.lane) as t, TestClient(shop.app):
        assert t.consume(orders, Message(body="")) is None
        job = t.consume(orders, Message(body="21", id="m1"))
        assert job is not None
        t.drain()
        assert t.result(job) == 42
        ((receiver, body),) = t.callbacks(job)
        assert receiver == "example.com:443"
        assert job.id in body
        with pytest.raises(ResultNotReady):
            t.run(external.call("first"))
        with pytest.raises(ResultNotReady):
            t.run(external.call("second"))
        assert [each.input for each in t.dispatched(external)] == ["first", "second"]
        first, second = t.submitted(external)
        t.complete(first, 7)
        t.fail(second, Problem(status=422, detail="unreadable"), retry=False)
        assert t.result(first) == 7
        with pytest.raises(JobFailed, match="unreadable"):
            t.result(second)


def test_harness_without_an_application_says_what_is_missing(shop: Shop) -> None:
    with sync_harness(shop.lane) as t, pytest.raises(LaneNotOpen, match="with TestClient"):
        t.drain()


async def test_application_within_an_asynchronous_harness_uses_its_store(shop: Shop) -> None:
    async with harness(shop.lane, eager=True) as t, shop.lane.lifespan(shop.app):
        transport = httpx2.ASGITransport(app=shop.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.post("/double", params={"number": 2}, headers={"Prefer": "wait=10"})
        assert answer.json() == 4
        (job,) = await t.submitted(shop.double)
        assert await job.result(timeout=0) + 1 == 5
    assert not shop.store.exists()


async def test_test_client_within_an_asynchronous_harness_is_refused_with_advice(shop: Shop) -> None:
    async with harness(shop.lane):
        with pytest.raises(ConfigurationError, match=r"use sidelane\.testing\.sync_harness"):
            await asyncio.to_thread(TestClient(shop.app).__enter__)


async def test_lane_opens_its_own_store_again_after_a_harness(shop: Shop) -> None:
    async with harness(shop.lane):
        pass
    async with shop.lane.open():
        pass
    assert shop.store.exists()


async def test_advance_runs_a_schedule_at_each_of_its_times(shop: Shop) -> None:
    async with harness(shop.lane) as t:
        await shop.lane.client.store.sweep(lease=1.0)
        shop.lane.schedule("doubling", shop.double.call(1), every=3)
        await shop.lane.schedules.save()
        start = t.clock()
        await t.advance(10)
        assert [round(record.submitted - start) for record in await t.records(shop.double)] == [3, 6, 9]
        await t.advance(10)
        assert len(await t.records(shop.double)) == 6
        assert await t.drain() == 6


async def test_eager_jobs_may_wait_for_each_other(shop: Shop) -> None:
    @shop.lane.task
    async def quadruple(number: int) -> int:
        twice = await (await shop.double.submit(number)).result(timeout=5)
        return await (await shop.double.submit(twice)).result(timeout=5)

    async with harness(shop.lane, eager=True):
        began = time.monotonic()
        assert await (await quadruple.submit(3)).result(timeout=5) == 12
        assert time.monotonic() - began < 4


def test_fixture_maker_is_not_collected_as_a_test() -> None:
    assert make_fixture.__test__ is False  # type: ignore[attr-defined]
