"""Spans of HTTP: a request that is answered with a job, and a stream of events."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus

from fastapi import Request, Response
from starlette.requests import HTTPConnection

from sidelane.model.ids import is_traceparent
from sidelane.telemetry.tracer import NEW_TRACE, NO_SPAN, AttributeValue, Span, SpanKind, Tracer
from sidelane.web.request_metrics import route_of


def trace_of(connection: HTTPConnection) -> str | None:
    """Return the valid `traceparent` that a client has sent, or None."""
    trace: str = connection.headers.get("traceparent", "")
    return trace if is_traceparent(trace) else None


@contextmanager
def request_span(tracer: Tracer, request: Request) -> Iterator[Span]:
    """Record a request within the block, unless an instrumentation of the application has already started its span."""
    if not tracer.active or tracer.traceparent is not None:
        yield NO_SPAN
        return
    route = route_of(request.scope)
    attributes = {"http.request.method": request.method, "http.route": route, "url.path": request.url.path}
    parent = trace_of(request) or NEW_TRACE
    with tracer.span(f"{request.method} {route}", kind=SpanKind.SERVER, parent=parent, attributes=attributes) as span:
        yield span


def record_status(span: Span, response: Response) -> None:
    """Record the status of the response to a request."""
    span.set({"http.response.status_code": response.status_code})
    if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        span.fail(f"The answer is {response.status_code}.", str(response.status_code))


def stream_span(
    tracer: Tracer, connection: HTTPConnection, attributes: Mapping[str, AttributeValue], *, trace: str | None = None
) -> Span:
    """Start the span of a stream of events, below its request. It has a link to the `trace` of its job."""
    parent = tracer.traceparent or trace_of(connection) or NEW_TRACE
    return tracer.start("receive events", parent=parent, links=[trace] if trace else [], attributes=attributes)
