"""The span that OpenTelemetry's API finds as the current one is ours, and takes what any code adds to it."""

import pytest
from opentelemetry import trace

from sidelane.exporters.tracing import open_tracer
from sidelane.model.settings import Settings
from sidelane.telemetry.tracer import NEW_TRACE
from tests.exporters.collector import Collector, collector

__all__ = ["collector"]

SETTINGS = Settings(traces="otlp")


async def test_code_that_uses_the_api_of_opentelemetry_adds_to_the_current_span(collector: Collector) -> None:
    tracer = open_tracer(SETTINGS)
    with tracer.span("answer", parent=NEW_TRACE):
        current = trace.get_current_span()
        assert current.is_recording()
        current.set_attribute("stock", "005930")
        current.update_name("answer about a stock")
        current.record_exception(KeyError("price"))
        current.set_status(trace.Status(trace.StatusCode.ERROR, "no price"))
    await tracer.close()
    (found,) = collector.spans
    assert (found.name, found.failed) == ("answer about a stock", True)
    assert found.attributes["stock"] == "005930"


async def test_status_ok_is_not_replaced_and_an_ended_span_does_not_change(collector: Collector) -> None:
    tracer = open_tracer(SETTINGS)
    span = tracer.start("answer")
    assert isinstance(span, trace.Span)
    span.set_status(trace.StatusCode.OK)
    span.fail("late")
    span.end()
    span.set({"after": "its end"})
    span.add_event("after its end")
    assert not span.is_recording()
    await tracer.close()
    (found,) = collector.spans
    assert not found.failed
    assert "after" not in found.attributes
    assert found.events == []


async def test_attributes_beyond_the_limit_are_left_out(collector: Collector) -> None:
    tracer = open_tracer(SETTINGS)
    tracer.start("answer", attributes={f"key-{number}": number for number in range(1000)}).end()
    await tracer.close()
    assert len(collector.spans[0].attributes) == 128


async def test_a_trace_that_is_not_sampled_is_not_sent_and_stays_so(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    tracer = open_tracer(SETTINGS)
    with tracer.span("request", parent=NEW_TRACE) as request, tracer.span("send chat") as sent:
        assert (request.traceparent or "")[:35] == (sent.traceparent or "")[:35]
        assert (sent.traceparent or "").endswith("-00")
    monkeypatch.delenv("OTEL_TRACES_SAMPLER")
    later = open_tracer(SETTINGS)
    later.start("process chat", parent=sent.traceparent).end()
    await tracer.close()
    await later.close()
    assert collector.spans == []
