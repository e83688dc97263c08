"""OpenTelemetry tracer: records spans with the SDK of OpenTelemetry, and sends them over OTLP."""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from threading import Thread
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from sidelane.exporters.span_sender import SpanSender
from sidelane.model.ids import is_traceparent
from sidelane.model.json_text import escape_surrogates
from sidelane.telemetry.tracer import NO_ATTRIBUTES, Attributes, Span, SpanKind, Tracer

CLOSE_TIMEOUT: Final = 3.0
"""Seconds in which the remaining spans of a process are sent when it closes its tracer."""

KINDS: Final = {kind: trace.SpanKind[kind.name] for kind in SpanKind}


def otlp_tracer(
    *, release: str, exporter: SpanExporter | None = None, attributes: Attributes = NO_ATTRIBUTES
) -> "OpenTelemetryTracer":
    """Return a tracer that the `OTEL_*` variables configure: endpoint, headers, resource, sampler, limits.

    The service is named `sidelane` unless they name it. `exporter` sends spans instead of that of OpenTelemetry. `attributes` are
    further ones of the resource.
    """
    service: Attributes = {"service.name": "sidelane", "process.pid": os.getpid(), **attributes}
    if release:
        service = {**service, "service.version": release}
    resource = Resource.create(service).merge(OTELResourceDetector().detect())
    return OpenTelemetryTracer(SpanSender(exporter or OTLPSpanExporter()), resource)


class OpenTelemetrySpan(Span):
    """A span of the SDK."""

    def __init__(self, recorded: trace.Span) -> None:
        self.recorded = recorded

    @cached_property
    def traceparent(self) -> str | None:  # read several times
        return _traceparent(self.recorded.get_span_context())

    def set(self, attributes: Attributes) -> None:
        self.recorded.set_attributes(_encodable(attributes))

    def add_event(self, name: str, attributes: Attributes = NO_ATTRIBUTES) -> None:
        self.recorded.add_event(name, attributes)

    def fail(self, description: str, error_type: str = "") -> None:
        self.recorded.set_status(trace.Status(trace.StatusCode.ERROR, escape_surrogates(description)))
        if error_type:
            self.recorded.set_attribute("error.type", error_type)

    def end(self) -> None:
        if self.recorded.is_recording():  # a second end would be logged as a warning
            self.recorded.end()


class OpenTelemetryTracer(Tracer):
    """Records spans with a provider of its lane. It changes no global state, so the application may have another provider.

    Both use the context of OpenTelemetry. So spans of the application are below the span that is current here, and the reverse.
    """

    active = True

    def __init__(self, sender: SpanSender, resource: Resource) -> None:
        self._sender = sender
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(sender))
        self._tracer = self._provider.get_tracer("sidelane")

    @property
    def traceparent(self) -> str | None:
        return _traceparent(trace.get_current_span().get_span_context())

    def start(
        self,
        name: str,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        parent: str | None = None,
        links: Sequence[str] = (),
        attributes: Attributes = NO_ATTRIBUTES,
        started: float | None = None,
    ) -> Span:
        return OpenTelemetrySpan(
            self._tracer.start_span(
                escape_surrogates(name),
                None if parent is None else trace.set_span_in_context(_remote_span(parent), Context()),
                KINDS[kind],
                _encodable(attributes),
                [trace.Link(_remote_span(link).get_span_context()) for link in links if is_traceparent(link)],
                None if started is None else int(started * 1e9),
            )
        )

    def remote(self, traceparent: str) -> Span:
        return OpenTelemetrySpan(_remote_span(traceparent))

    @contextmanager
    def current(self, span: Span) -> Iterator[None]:
        if not isinstance(span, OpenTelemetrySpan):
            yield
            return
        token = attach(trace.set_span_in_context(span.recorded))
        try:
            yield
        finally:
            detach(token)

    async def flush(self, timeout: float) -> None:
        """Wait until the spans that have ended are sent, for `timeout` seconds at most. Return at once while sending fails."""
        if not self._sender.failing and not await _run_in_daemon(self._provider.force_flush, timeout):
            self._sender.failed(f"no answer within {timeout:g} seconds")

    async def close(self) -> None:
        if not await _run_in_daemon(self._provider.shutdown, CLOSE_TIMEOUT):
            self._sender.failed(f"no answer within {CLOSE_TIMEOUT:g} seconds")
            self._sender.shutdown()  # ends the retries of the thread that sends


def _encodable(attributes: Attributes) -> Attributes:
    """Return attributes without lone surrogates, because of which a receiver would get none of the spans that are sent together."""
    return {name: escape_surrogates(value) if isinstance(value, str) else value for name, value in attributes.items()}


def _traceparent(context: trace.SpanContext) -> str | None:
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _remote_span(traceparent: str) -> trace.Span:
    """Return the span of a `traceparent`, or the invalid span, which is no parent, if it is malformed."""
    if not is_traceparent(traceparent):
        return trace.INVALID_SPAN
    _, trace_id, span_id, flags = traceparent.split("-")
    sampled = trace.TraceFlags(int(flags, 16) & trace.TraceFlags.SAMPLED)
    return trace.NonRecordingSpan(trace.SpanContext(int(trace_id, 16), int(span_id, 16), True, sampled))


async def _run_in_daemon(function: Callable[[], object], timeout: float) -> bool:
    """Run a function in a thread that keeps no process alive. Return whether it ended within `timeout` seconds."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        try:
            function()
        finally:
            with suppress(RuntimeError):  # the loop has closed meanwhile
                loop.call_soon_threadsafe(ended.set)

    Thread(target=run, name="sidelane-spans", daemon=True).start()
    try:
        await asyncio.wait_for(ended.wait(), timeout)
    except TimeoutError:
        return False
    return True
