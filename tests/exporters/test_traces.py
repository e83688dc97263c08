"""Traces: which spans the parts of Sidelane send, how they hang together, and that they agree with the jobs' records."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import Depends, FastAPI, Response
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.types import Receive, Scope, Send

from sidelane import CompletionMessage, Context, Http, JobConflict, Message, Queue, Sidelane, Sqs, Webhook
from sidelane.model.outcome import AttemptResult
from sidelane.tasks.internal_queues import CALLBACK_QUEUE, DISPATCH_QUEUE
from sidelane.testing import harness
from sidelane.transports.job_messages import read_dispatched_header
from sidelane.web import Jobs, Responder
from tests.callbacks.local_receivers import Receiver, receiving
from tests.exporters import traced_app
from tests.exporters.collector import Collector, ReceivedSpan, collector

__all__ = ["collector"]

CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""The `traceparent` of a client of the service."""


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as listening:
        yield listening


@pytest.fixture
def lane(tmp_path: Path) -> Sidelane:
    """A traced lane on a new SQLite file."""
    settings = {
        "traces": "otlp",
        "lease_duration": 2.0,
        "allow_private_callbacks": True,
        "secret": "a secret of these tests, and of nothing else",
        "jobs_url": "https://api.example.com/jobs",
    }
    return Sidelane(queues=[Queue("chat")], store=f"sqlite:///{tmp_path / 'jobs.db'}", settings=settings)


def is_below(child: ReceivedSpan, parent: ReceivedSpan) -> bool:
    return (child.trace, child.parent) == (parent.trace, parent.id)


def outcomes(spans: list[ReceivedSpan]) -> list[str]:
    return [each.attributes["sidelane.outcome"] for each in spans]


# --- one trace --------------------------------------------------------------------------------------------------------


async def test_one_trace_goes_from_the_request_over_the_attempt_to_stream_and_callback(
    lane: Sidelane, receiver: Receiver, collector: Collector
) -> None:
    @lane.task(queue="chat")
    async def answer(question: str) -> AsyncIterator[str]:
        yield question
        yield "!"

    jobs, app = Jobs(lane, user=lambda: "u1"), FastAPI()
    app.include_router(jobs.router, prefix="/jobs")

    @app.post("/chats/{chat}")
    async def ask(chat: str, respond: Annotated[Responder, Depends(jobs.respond)]) -> Response:
        return await respond(answer.options(callback=Webhook(receiver.url)).call(chat), stream=True)

    async with (
        lane.open(workers=1),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://a") as http,
    ):
        await http.post("/chats/hello", headers={"traceparent": CLIENT})
        (request,) = await receiver.until(1)
        callback = await collector.span(f"process {CALLBACK_QUEUE}")

    served, sent = await collector.span("POST /chats/{chat}"), await collector.span("send chat")
    attempt, stream = await collector.span("process chat"), await collector.span("receive events")
    posted = await collector.span(f"POST 127.0.0.1:{receiver.port}")
    assert f"00-{served.trace}-{served.parent}-01" == CLIENT
    assert is_below(sent, served)
    assert is_below(attempt, sent)
    assert is_below(stream, served)
    assert is_below(callback, sent)
    assert is_below(posted, callback)
    assert stream.links == [sent.id]
    assert request.headers["traceparent"] == posted.traceparent
    kinds = [each.kind for each in (served, sent, attempt, stream, callback, posted)]
    assert kinds == ["SERVER", "PRODUCER", "CONSUMER", "INTERNAL", "CONSUMER", "CLIENT"]
    job = sent.attributes["messaging.message.id"]
    assert sent.attributes == {
        "messaging.system": "sidelane", "messaging.operation.name": "send", "messaging.operation.type": "send",
        "messaging.destination.name": "chat", "messaging.message.id": job, "sidelane.task": "answer", "user.id": "u1",
        "sidelane.created": True,
    }  # fmt: skip
    assert attempt.attributes.pop("sidelane.worker").startswith("embedded-1:")
    assert 0 <= attempt.attributes.pop("sidelane.wait") < 5
    assert attempt.attributes == {
        "messaging.system": "sidelane", "messaging.operation.name": "process", "messaging.operation.type": "process",
        "messaging.destination.name": "chat", "messaging.message.id": job, "sidelane.task": "answer", "user.id": "u1",
        "sidelane.attempt": 1, "sidelane.outcome": "succeeded",
    }  # fmt: skip
    assert (served.attributes["http.route"], served.attributes["http.response.status_code"]) == ("/chats/{chat}", 200)
    assert (posted.attributes["url.full"], posted.attributes["http.response.status_code"]) == (receiver.url, 200)
    assert stream.attributes["sidelane.stream.sent"] >= 2
    assert not any(each.failed for each in collector.spans)
    assert served.resource.items() >= {"service.name": "sidelane"}.items()


async def test_a_request_span_of_the_application_is_the_parent_of_the_submit(
    lane: Sidelane, collector: Collector
) -> None:
    @lane.task
    async def answer() -> None: ...

    provider, mine = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(mine))
    jobs, app = Jobs(lane, user=None), FastAPI()
    app.include_router(jobs.router, prefix="/jobs")

    @app.post("/chats")
    async def ask(respond: Annotated[Responder, Depends(jobs.respond)]) -> Response:
        return await respond(answer.call())

    async def instrumented(scope: Scope, receive: Receive, send: Send) -> None:
        with provider.get_tracer("app").start_as_current_span("request"):
            await app(scope, receive, send)

    transport = httpx2.ASGITransport(instrumented)
    async with lane.open(), httpx2.AsyncClient(transport=transport, base_url="http://a") as http:
        assert (await http.post("/chats", headers={"traceparent": CLIENT})).status_code == 202
    (own,) = mine.get_finished_spans()
    (sent,) = collector.spans
    assert sent.name == "send default"
    assert own.context is not None
    assert (int(sent.trace, 16), int(sent.parent, 16)) == (own.context.trace_id, own.context.span_id)


async def test_spans_in_a_task_are_below_its_attempt_in_every_mode(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, mine = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(mine))
    tracer = provider.get_tracer("the user's own")

    async def traced(ctx: Context) -> AsyncIterator[None]:
        with tracer.start_as_current_span("in middleware"):
            yield

    async with harness(traced_app.lane) as t:
        monkeypatch.setattr(traced_app.lane.registry, "middleware", [asynccontextmanager(traced)])
        jobs = [
            await task.submit(2, 3) for task in (traced_app.add, traced_app.add_in_thread, traced_app.add_in_process)
        ]
        await t.drain()
    attempts = [await collector.span("process default", job.id) for job in jobs]
    for attempt in attempts[:2]:
        own = next(
            each for each in mine.get_finished_spans() if each.parent and each.parent.span_id == int(attempt.id, 16)
        )
        adding = next(each for each in collector.named("adding") if each.parent == f"{own.context.span_id:016x}")
        assert adding.trace == attempt.trace
    in_process = next(each for each in collector.named("adding") if "pid" in each.attributes)
    assert is_below(in_process, attempts[2])
    assert in_process.resource["process.pid"] == in_process.attributes["pid"] != attempts[2].resource["process.pid"]
    assert in_process.resource["service.version"] == "r1"
    child = next(each for each in collector.named("send default") if is_below(each, attempts[2]))
    assert is_below(await collector.span("process default", child.attributes["messaging.message.id"]), child)


async def test_a_child_job_is_below_the_attempt_that_submits_it(collector: Collector) -> None:
    async with harness(traced_app.lane) as t:
        job = await traced_app.delegate.submit()
        await t.drain()
        child = await job.result(timeout=0)
    attempt, sent = await collector.span("process default", job.id), await collector.span("send default", child)
    assert is_below(sent, attempt)
    assert is_below(await collector.span("process default", child), sent)


async def test_the_jobs_of_a_batch_share_the_span_of_their_submit(collector: Collector) -> None:
    async with harness(traced_app.lane) as t:
        batch = await traced_app.lane.submit_many(
            [traced_app.add.call(1, n) for n in range(3)], then=traced_app.add.call(0, 0)
        )
        await t.drain()
    sent = await collector.span("send")
    assert (sent.attributes["messaging.batch.message_count"], sent.attributes["sidelane.batch"]) == (3, batch.id)
    attempts = collector.named("process default")
    assert len(attempts) == 4
    assert all(is_below(each, sent) for each in attempts)


async def test_a_schedule_begins_a_trace_each_time(lane: Sidelane, collector: Collector) -> None:
    @lane.task
    async def refresh() -> None: ...

    lane.schedule("often", refresh.call(), every=60.0)
    async with harness(lane) as t:
        for _ in range(2):
            await t.advance(60.0)
            await t.drain()
    sent = collector.named("send default")
    assert len({each.trace for each in sent}) == 2
    assert [each.parent for each in sent] == ["", ""]
    attempts = collector.named("process default")
    assert all(is_below(attempt, span) for attempt, span in zip(attempts, sent, strict=True))


async def test_a_consumer_continues_the_trace_of_its_message(lane: Sidelane, collector: Collector) -> None:
    @lane.task
    async def refresh() -> None: ...

    @lane.consumer(Sqs("requests"))
    def wanted(message: Message) -> Any:
        return refresh.call()

    async with harness(lane) as t:
        await t.consume(wanted, Message(body="{}", attributes={"traceparent": CLIENT}))
    sent = await collector.span("send default")
    assert f"00-{sent.trace}-{sent.parent}-01" == CLIENT


async def test_a_refused_submit_is_a_failed_span(lane: Sidelane, collector: Collector) -> None:
    @lane.task
    async def refresh() -> None: ...

    async with lane.open():
        await lane.submit(refresh.options(id="a").call())
        with pytest.raises(JobConflict):
            await lane.submit(refresh.options(id="a", user="another").call())
    failed = [each for each in collector.named("send default") if each.failed]
    assert [each.attributes["error.type"] for each in failed] == ["JobConflict"]


async def test_what_a_client_does_not_sample_is_not_sent(lane: Sidelane, collector: Collector) -> None:
    @lane.task
    async def refresh() -> None: ...

    async with lane.open(workers=1):
        job = await lane.client.submit(refresh.call(), trace=CLIENT[:-1] + "0")
        await job.result(timeout=10)
        record = await job.record()
        assert record.spec.trace is not None
        assert record.spec.trace.endswith("-00")
    assert collector.spans == []


# --- other workers ----------------------------------------------------------------------------------------------------


async def test_an_external_attempt_has_one_span_from_its_dispatch_to_its_completion(
    lane: Sidelane, receiver: Receiver, collector: Collector
) -> None:
    analyse = lane.external_task("analyse", input=str, result=int, send_to=Http(receiver.url), queue="chat")
    async with lane.open(workers=1):
        job = await analyse.submit("a.wav")
        (request,) = await receiver.until(1)
        dispatched = read_dispatched_header(Message(body=request.body))
        while (await job.record()).external_lease is None:
            await asyncio.sleep(0.02)
        reply = CompletionMessage(job=job.id, token=dispatched.token, result=7)
        await lane.completions.apply(reply, trace=CLIENT)
        assert await job.result(timeout=5) == 7
        record = await job.record()
    sent, attempt = await collector.span("send chat"), await collector.span("process chat")
    dispatch = await collector.span(f"process {DISPATCH_QUEUE}")
    message, posted = (
        await collector.span(f"send {receiver.url}"),
        await collector.span(f"POST 127.0.0.1:{receiver.port}"),
    )
    assert is_below(attempt, sent)
    assert is_below(dispatch, sent)
    assert is_below(message, dispatch)
    assert is_below(posted, message)
    assert (request.headers["traceparent"], dispatched.traceparent) == (posted.traceparent, message.traceparent)
    assert outcomes([attempt]) == ["succeeded"]
    assert attempt.links == [CLIENT.split("-")[2]]
    assert record.started is not None
    assert attempt.started == pytest.approx(record.started, abs=0.01)


async def test_a_completion_that_is_cancelled_after_the_store_has_it_still_sends_its_span(
    lane: Sidelane, receiver: Receiver, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyse = lane.external_task("analyse", input=str, result=int, send_to=Http(receiver.url), queue="chat")
    async with lane.open(workers=1):
        job = await analyse.submit("a.wav")
        (request,) = await receiver.until(1)
        dispatched = read_dispatched_header(Message(body=request.body))
        store = lane.client.store
        finish = store.finish

        async def cancel_after(reports: Sequence[AttemptResult]) -> list[bool]:
            accepted = await finish(reports)
            if any(report.lease.job_id == job.id for report in reports):
                applying.cancel()
                await asyncio.sleep(0)
            return accepted

        monkeypatch.setattr(store, "finish", cancel_after)
        reply = CompletionMessage(job=job.id, token=dispatched.token, result=7)
        applying = asyncio.create_task(lane.completions.apply(reply))
        await asyncio.wait([applying])
        assert applying.cancelled()
        assert await job.result(timeout=5) == 7
    assert outcomes([await collector.span("process chat")]) == ["succeeded"]


async def test_a_failed_dispatch_is_a_failed_attempt(lane: Sidelane, receiver: Receiver, collector: Collector) -> None:
    analyse = lane.external_task(
        "analyse", input=str, result=int, send_to=Http("http://127.0.0.1:9/"), timeout=0.1, queue="chat"
    )
    async with lane.open(workers=1):
        job = await analyse.submit("a.wav")
        await lane.client.wait(job.id, 10)
    attempt = await collector.span("process chat")
    assert (outcomes([attempt]), attempt.failed) == (["failed"], True)
