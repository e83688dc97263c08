"""The telemetry port: listeners, their errors, and the figures of a process."""

import asyncio
import logging
import time

import pytest

from sidelane.telemetry import (
    CallbackTried,
    EventsWritten,
    FirstEvent,
    LoopMeasured,
    MessageAction,
    MessagesHandled,
    ProcessFigures,
    StoreCalled,
    StreamClosed,
    StreamKind,
    StreamOpened,
    StreamSlow,
    Telemetry,
    TelemetryEvent,
)
from sidelane.telemetry.figures import MAX_LABELS
from sidelane.telemetry.loop import LoopMeter
from sidelane.telemetry.streams import Streams

EVENT = LoopMeasured(lag=0.5)


def test_listener_is_called_until_it_unsubscribes() -> None:
    telemetry, first, second = Telemetry(), list[TelemetryEvent](), list[TelemetryEvent]()
    unsubscribe = telemetry.subscribe(first.append)
    telemetry.subscribe(second.append)
    telemetry.report(EVENT)
    unsubscribe()
    unsubscribe()
    telemetry.report(EVENT)
    assert (first, second) == ([EVENT], [EVENT, EVENT])
    assert telemetry.active


def test_listener_gets_only_the_kinds_that_it_wants() -> None:
    telemetry, received = Telemetry(), list[TelemetryEvent]()
    unsubscribe = telemetry.subscribe(received.append, LoopMeasured)
    assert telemetry.wants(LoopMeasured)
    assert not telemetry.wants(StoreCalled)
    telemetry.report(StoreCalled(verb="claim", seconds=1.0))
    telemetry.report(EVENT)
    unsubscribe()
    assert received == [EVENT]
    assert not telemetry.active


def test_listener_that_fails_is_logged_once_and_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    telemetry, received = Telemetry(), list[TelemetryEvent]()

    def fail(event: TelemetryEvent) -> None:
        raise RuntimeError("no")

    telemetry.subscribe(fail)
    telemetry.subscribe(received.append)
    with caplog.at_level(logging.ERROR, "sidelane.telemetry.port"):
        for _ in range(3):
            telemetry.report(EVENT)
    assert received == [EVENT] * 3
    assert len(caplog.records) == 1


def test_listener_may_unsubscribe_while_it_is_called() -> None:
    telemetry, received = Telemetry(), list[TelemetryEvent]()

    def once(event: TelemetryEvent) -> None:
        received.append(event)
        unsubscribe()

    unsubscribe = telemetry.subscribe(once)
    telemetry.report(EVENT)
    telemetry.report(EVENT)
    assert received == [EVENT]


def test_figures_count_what_is_reported() -> None:
    telemetry, figures = Telemetry(), ProcessFigures()
    stop = figures.listen(telemetry)
    job = {"job": "j", "task": "answer", "queue": "chat"}
    for event in (
        StreamOpened(kind=StreamKind.SSE, resumed=True),
        StreamOpened(kind=StreamKind.SSE),
        StreamSlow(kind=StreamKind.SSE, seconds=2.0),
        StreamClosed(kind=StreamKind.SSE, seconds=9.0),
        EventsWritten(**job, attempt=1, count=3, bytes=30),
        FirstEvent(**job, attempt=1, seconds=0.3),
        CallbackTried(job="j", kind="webhook", seconds=0.1, age=2.0, status=200),
        CallbackTried(job="j", kind="webhook", seconds=0.1, age=2.0, status=503, error="NotDelivered"),
        CallbackTried(job="j", kind="sqs", seconds=0.1, age=2.0, error="NotDelivered"),
        MessagesHandled(endpoint="SQS queue a", action=MessageAction.SENT, count=10, requests=1),
        StoreCalled(verb="claim", seconds=0.002),
        StoreCalled(verb="claim", seconds=3.0, error="StoreUnavailable"),
        LoopMeasured(lag=0.25),
    ):
        telemetry.report(event)
    stop()
    telemetry.report(LoopMeasured(lag=9.0))
    assert (figures.streams_open, figures.streams_opened) == ({"sse": 1}, {"sse": 2})
    assert (figures.streams_resumed, figures.streams_slow) == ({"sse": 1}, {"sse": 1})
    assert (figures.events, figures.event_bytes, figures.loop_lag) == (3, 30, 0.25)
    assert figures.first_event_seconds["answer"].count == 1
    assert figures.callbacks == {("webhook", "delivered"): 1, ("webhook", "503"): 1, ("sqs", "NotDelivered"): 1}
    assert (figures.callback_seconds.count, figures.callback_age.count) == (3, 1)
    assert figures.messages["SQS queue a", MessageAction.SENT] == 10
    assert figures.message_requests["SQS queue a", MessageAction.SENT] == 1
    assert (figures.store_seconds["claim"].count, figures.store_seconds["claim"].total) == (2, 3.002)
    assert figures.store_errors == {"claim": 1}


def test_names_in_figures_are_bounded() -> None:
    figures = ProcessFigures()
    for number in range(1000):
        figures.on_event(FirstEvent(job="j", task=f"t{number}", queue="q", attempt=1, seconds=0.1))
        figures.on_event(MessagesHandled(endpoint=f"e{number}", action=MessageAction.SENT, count=1, requests=1))
    assert len(figures.first_event_seconds) == len(figures.messages) == MAX_LABELS + 1
    assert figures.messages["other", MessageAction.SENT] == 1000 - MAX_LABELS


async def test_loop_meter_measures_how_late_the_loop_comes() -> None:
    telemetry, received = Telemetry(), list[TelemetryEvent]()
    telemetry.subscribe(received.append)
    meter = LoopMeter(telemetry, interval=0.01)
    running = asyncio.create_task(meter.run())
    await asyncio.sleep(0.03)
    time.sleep(0.2)  # noqa: ASYNC251 - it blocks the loop
    assert meter.lag >= 0.15
    await asyncio.sleep(0.03)
    running.cancel()
    assert meter.count >= 3
    assert max(each.lag for each in received if isinstance(each, LoopMeasured)) >= 0.15


async def test_stream_that_waits_for_its_client_is_reported_as_slow_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidelane.telemetry.streams.SLOW_AFTER", 0.01)
    telemetry, received = Telemetry(), list[TelemetryEvent]()
    telemetry.subscribe(received.append)
    streams = Streams(telemetry)
    with streams.track(StreamKind.WEBSOCKET, resumed=True) as stream:
        assert streams.open == 1
        await stream.send(asyncio.sleep(0))
        for _ in range(2):
            await stream.send(asyncio.sleep(0.02))
    assert streams.open == 0
    assert [type(each).__name__ for each in received] == ["StreamOpened", "StreamSlow", "StreamClosed"]
