"""Sending spans: what happens if the collector is down, does not answer, or would refuse some of the spans."""

import asyncio
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace

from sidelane import Sidelane
from sidelane.exporters.tracing import open_tracer
from sidelane.model.errors import ConfigurationError
from sidelane.model.ids import is_traceparent
from sidelane.model.settings import Settings
from sidelane.telemetry.tracer import NO_TRACER
from tests.exporters.collector import Collector, collector

__all__ = ["collector"]

SETTINGS = Settings(traces="otlp", release="r7")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged about sending spans."""
    return [record.getMessage() for record in caplog.records if "span" in record.getMessage().lower()]


@pytest.mark.long
async def test_an_outage_is_logged_once_and_loses_no_work(
    tmp_path: Path, collector: Collector, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1.5")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    lane = Sidelane(store=f"sqlite:///{tmp_path / 'jobs.db'}", settings={"traces": "otlp"})

    @lane.task
    async def add(a: int) -> int:
        return a + 1

    async with lane.open(workers=1):
        collector.stop()
        with caplog.at_level(logging.INFO):
            while not (logged := lines(caplog)):
                await (await add.submit(1)).result(timeout=10)
                await asyncio.sleep(0.05)  # so that the queue does not become full yet
            for number in range(50):
                assert await (await add.submit(number)).result(timeout=10) == number + 1
            await asyncio.sleep(2.0)  # long enough for more attempts to send
            assert lines(caplog) == logged
            assert "cannot be sent" in logged[0]
            assert "Connection refused" in logged[0]
            collector.start()
            while len(lines(caplog)) < 2:
                await (await add.submit(1)).result(timeout=10)
                await asyncio.sleep(0.1)
    assert len(lines(caplog)) == 2
    assert "sent again" in lines(caplog)[1]
    assert collector.spans


@pytest.mark.long
async def test_a_collector_that_does_not_answer_delays_neither_the_end_of_a_process_nor_later_flushes(
    collector: Collector,
) -> None:
    collector.hanging.set()
    tracer = open_tracer(SETTINGS)
    tracer.start("one").end()
    began = time.monotonic()
    await tracer.flush(0.3)
    assert 0.25 < time.monotonic() - began < 5
    began = time.monotonic()
    for _ in range(10):
        tracer.start("more").end()
        await tracer.flush(0.3)
    assert time.monotonic() - began < 2
    began = time.monotonic()
    await tracer.close()
    assert time.monotonic() - began < 8


async def test_malformed_ids_of_others_are_not_sent_because_a_receiver_refuses_the_batch(collector: Collector) -> None:
    tracer = open_tracer(SETTINGS)
    zeros = f"00-{'0' * 32}-{'0' * 16}-01"
    for number, malformed in enumerate(("00-0-0-0", zeros, f"00-{'g' * 32}-{'1' * 16}-01", "")):
        tracer.start(f"span {number}", parent=malformed, links=[malformed]).end()
        with tracer.current(tracer.remote(malformed)):
            tracer.start(f"below {number}").end()
    await tracer.close()
    assert collector.refused == 0
    assert len(collector.spans) == 8


async def test_a_text_that_cannot_be_encoded_is_escaped_and_loses_no_span(collector: Collector) -> None:
    tracer = open_tracer(SETTINGS)
    for text in ("a", "\ud800", "b"):
        span = tracer.start(f"span {text}", attributes={"text": text, "texts": [text]})
        assert isinstance(span, trace.Span)
        span.set_status(trace.Status(trace.StatusCode.ERROR, text))
        span.end()
    await tracer.close()
    assert [(each.name, each.attributes["text"], each.attributes["texts"]) for each in collector.spans] == [
        ("span a", "a", ["a"]),
        ("span \\ud800", "\\ud800", ["\\ud800"]),
        ("span b", "b", ["b"]),
    ]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "9999", "max_export_batch_size must be less than"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "could not convert string to float: 'soon'"),
    ],
)
def test_variables_that_cannot_be_used_are_told_in_one_sentence(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=rf"The OTEL_\* variables cannot be used: {reason}"):
        open_tracer(SETTINGS)


async def test_an_attribute_of_any_kind_loses_no_span(collector: Collector) -> None:
    tracer = open_tracer(SETTINGS)
    values: dict[Any, Any] = {"a\ud800": 1, 5: 2**70, "mapping": {"b": "\ud800"}, "nothing": None}
    tracer.start("odd", attributes=values).end()
    tracer.start("plain").end()
    await tracer.close()
    odd, plain = collector.spans
    assert (odd.name, plain.name) == ("odd", "plain")
    assert odd.attributes.keys() == {"a\\ud800", "5", "mapping", "nothing"}


async def test_variables_name_the_service_and_add_to_its_resource(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    tracer = open_tracer(SETTINGS)
    tracer.start("span").end()
    await tracer.close()
    expected = {"service.name": "shop", "service.version": "r7", "deployment.environment.name": "test"}
    assert collector.spans[0].resource.items() >= expected.items()


async def test_a_span_may_have_begun_earlier_and_end_only_once(collector: Collector) -> None:
    tracer = open_tracer(SETTINGS)
    span = tracer.start("span", parent="no traceparent", started=time.time() - 60)
    span.add_event("seen", {"count": 1})
    span.end()
    span.end()
    assert is_traceparent(span.traceparent or "")
    await tracer.close()
    (found,) = collector.spans
    assert found.parent == ""
    assert 59 < found.ended - found.started < 61


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", True),
        ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", False),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", False),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", False),
        ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", False),
        ("", False),
    ],
)
def test_a_traceparent_is_checked_as_the_standard_says(text: str, valid: bool) -> None:
    assert is_traceparent(text) is valid


OFF = """
import asyncio, sys
from sidelane import Sidelane
from sidelane.telemetry.tracer import NO_TRACER

lane = Sidelane(store=sys.argv[1], settings={"lease_duration": 2.0})

@lane.task
async def add(a: int) -> int:
    return a + 1

async def main() -> None:
    async with lane.open(workers=1):
        assert await (await add.submit(1)).result(timeout=10) == 2
        assert lane.telemetry.tracer is NO_TRACER
    assert not [name for name in sys.modules if name.startswith("opentelemetry")]

asyncio.run(main())
"""


def test_without_traces_nothing_of_opentelemetry_is_imported(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", OFF, f"sqlite:///{tmp_path / 'jobs.db'}"], check=True)
    assert open_tracer(Settings()) is NO_TRACER
