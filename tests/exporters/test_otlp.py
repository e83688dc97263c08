"""The OTLP exporter: what it sends is what OpenTelemetry's own exporter sends, and a receiver may ask it to wait."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as reference
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from sidelane.exporters.otlp import NotSent, OtlpExporter, encode_spans
from tests.exporters.collector import Collector, collector

__all__ = ["collector"]

TRACE = 0x0AF7651916CD43DD8448EB211C80319C

PARENTS = [None, *(trace.SpanContext(TRACE, 7, remote, trace.TraceFlags(1)) for remote in (True, False))]

RESOURCE = Resource({"service.name": "shop", "process.pid": 7})

ATTRIBUTES = {
    "text": "안녕",
    "yes": True,
    "count": -5,
    "share": 0.5,
    "names": ("a", "b"),
    "numbers": (1, 2),
    "empty": "",
}


def span(number: int, **fields: Any) -> ReadableSpan:
    """Return a span that has everything, unless `fields` say otherwise."""
    values = {
        "name": f"process {number}",
        "context": trace.SpanContext(TRACE, number, False, trace.TraceFlags(1)),
        "parent": PARENTS[0],
        "resource": RESOURCE,
        "attributes": ATTRIBUTES,
        "events": [Event("seen", {"count": 1}, 1_700_000_000_000_000_000)],
        "links": [trace.Link(trace.SpanContext(TRACE, 9, True, trace.TraceFlags(1)))],
        "kind": trace.SpanKind.CONSUMER,
        "instrumentation_scope": InstrumentationScope("sidelane"),
        "status": trace.Status(trace.StatusCode.ERROR, "no price"),
        "start_time": 1_700_000_000_000_000_000,
        "end_time": 1_700_000_001_000_000_000,
    }
    return ReadableSpan(**{**values, **fields})


def test_encoded_spans_are_those_of_opentelemetry() -> None:
    spans = [span(number, parent=parent) for number, parent in enumerate(PARENTS, start=1)]
    spans += [span(4, kind=kind) for kind in trace.SpanKind]
    spans += [span(5, status=trace.Status(code)) for code in (trace.StatusCode.UNSET, trace.StatusCode.OK)]
    spans += [span(6, attributes={}, events=[], links=[])]
    encoded = ExportTraceServiceRequest.FromString(encode_spans(spans))
    expected = reference(spans)
    assert encoded.resource_spans[0].resource == expected.resource_spans[0].resource
    found, wanted = (list(request.resource_spans[0].scope_spans[0].spans) for request in (encoded, expected))
    for each in (*found, *wanted):
        each.attributes.sort(key=lambda attribute: attribute.key)  # they have no order
    assert found == wanted


def test_value_of_a_type_that_otlp_does_not_have_is_sent_as_text() -> None:
    encoded = ExportTraceServiceRequest.FromString(encode_spans([span(1, attributes={"big": 1 << 70, "none": None})]))
    values = {each.key: each.value for each in encoded.resource_spans[0].scope_spans[0].spans[0].attributes}
    assert values["big"].string_value == str(1 << 70)
    assert values["none"].string_value == "None"


def test_variables_say_where_and_how_spans_are_sent(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"{collector.url}/base/")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    OtlpExporter().export([span(1)])
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/own")
    OtlpExporter().export([span(2)])
    assert collector.paths == ["/base/v1/traces", "/own"]
    assert collector.headers[0]["api-key"] == "a b"
    assert collector.headers[0]["Content-Encoding"] == "gzip"
    assert [each.name for each in collector.spans] == ["process 1", "process 2"]


@pytest.fixture
def answers() -> Iterator[list[tuple[int, dict[str, str]]]]:
    """The answers of a receiver to the next requests. The first element is the port of the receiver."""
    planned: list[tuple[int, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            status, headers = planned.pop(1)
            self.send_response(status)
            for name, value in {"content-length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    planned.append((server.server_port, {}))
    Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    yield planned
    server.shutdown()
    server.server_close()


def test_batch_is_sent_again_after_the_time_that_the_receiver_names(answers: list[tuple[int, dict[str, str]]]) -> None:
    answers += [(503, {"retry-after": "0"}), (429, {"retry-after": "0"}), (200, {})]
    OtlpExporter(endpoint=f"http://127.0.0.1:{answers[0][0]}").export([span(1)])
    assert len(answers) == 1


def test_batch_that_is_refused_is_not_sent_again(answers: list[tuple[int, dict[str, str]]]) -> None:
    answers += [(400, {}), (200, {})]
    with pytest.raises(NotSent, match="answered 400"):
        OtlpExporter(endpoint=f"http://127.0.0.1:{answers[0][0]}").export([span(1)])
    assert len(answers) == 2


def test_retries_end_when_the_exporter_is_shut_down(answers: list[tuple[int, dict[str, str]]]) -> None:
    answers += [(503, {"retry-after": "5"}), (200, {})]
    exporter = OtlpExporter(endpoint=f"http://127.0.0.1:{answers[0][0]}")
    exporter.shutdown()
    with pytest.raises(NotSent, match="answered 503"):
        exporter.export([span(1)])


def test_values_that_are_equal_and_of_other_types_keep_their_types() -> None:
    values = [{"value": 1}, {"value": True}, {"value": 1.0}, {"value": [1, "a"]}, {"value": ({"a": [1]},)}]
    encoded = ExportTraceServiceRequest.FromString(encode_spans([span(1, attributes=each) for each in values]))
    found = [each.attributes[0].value.WhichOneof("value") for each in encoded.resource_spans[0].scope_spans[0].spans]
    assert found == ["int_value", "bool_value", "double_value", "array_value", "array_value"]
