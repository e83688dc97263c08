"""OpenTelemetry tracer: records spans, and sends them over OTLP with the SDK of OpenTelemetry."""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from sidelane.exporters.otlp import OtlpExporter
from sidelane.exporters.recorded_span import KnownSpan, RecordedSpan, traceparent_of
from sidelane.exporters.span_sender import SpanSender
from sidelane.model.ids import is_traceparent
from sidelane.telemetry.tracer import NO_ATTRIBUTES, Attributes, Span, SpanKind, Tracer

CLOSE_TIMEOUT: Final = 3.0
"""Seconds in which the remaining spans of a process are sent when it closes its tracer."""

IDS: Final = RandomIdGenerator()
SCOPE: Final = InstrumentationScope("sidelane")
SAMPLED, NOT_SAMPLED = trace.TraceFlags(trace.TraceFlags.SAMPLED), trace.TraceFlags()
NO_CONTEXT: Final = Context()

KINDS: Final = {kind: trace.SpanKind[kind.name] for kind in SpanKind}


def otlp_tracer(
    *, release: str, exporter: SpanExporter | None = None, attributes: Attributes = NO_ATTRIBUTES
) -> "OpenTelemetryTracer":
    """Return a tracer that the `OTEL_*` variables configure: endpoint, headers, resource, sampler, batches.

    The service is named `sidelane` unless they name it. `exporter` sends spans instead of that of OpenTelemetry. `attributes` are
    further ones of the resource.
    """
    service: Attributes = {"service.name": "sidelane", "process.pid": os.getpid(), **attributes}
    if release:
        service = {**service, "service.version": release}
    resource = Resource.create(service).merge(OTELResourceDetector().detect())
    return OpenTelemetryTracer(SpanSender(exporter or OtlpExporter()), resource)


class OpenTelemetryTracer(Tracer):
    """Records spans with a provider of its lane. It changes no global state, so the application may have another provider.

    Both use the context of OpenTelemetry. So spans of the application are below the span that is current here, and the reverse.
    """

    active = True

    def __init__(self, sender: SpanSender, resource: Resource) -> None:
        self._sender = sender
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._processor = BatchSpanProcessor(sender)
        self._provider.add_span_processor(self._processor)

    @property
    def traceparent(self) -> str | None:
        return traceparent_of(trace.get_current_span().get_span_context())

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
        known = trace.get_current_span().get_span_context() if parent is None else _context_of(parent)
        above = known if known.is_valid else None
        trace_id = IDS.generate_trace_id() if above is None else above.trace_id
        followed = [trace.Link(_context_of(link)) for link in links if is_traceparent(link)]
        decision = Decision.RECORD_AND_SAMPLE
        if self._provider.sampler is not DEFAULT_ON:
            below = trace.set_span_in_context(trace.NonRecordingSpan(known), NO_CONTEXT)
            sampler = self._provider.sampler
            decision = sampler.should_sample(below, trace_id, name, KINDS[kind], attributes, followed).decision
        elif above is not None and not above.trace_flags.sampled:  # what the default decides, without its checks
            decision = Decision.DROP
        flags = SAMPLED if decision is Decision.RECORD_AND_SAMPLE else NOT_SAMPLED
        context = trace.SpanContext(trace_id, IDS.generate_span_id(), False, flags)
        if decision is Decision.DROP:
            return KnownSpan(trace.NonRecordingSpan(context))
        return RecordedSpan(
            name, context, parent=above, kind=KINDS[kind], links=followed, attributes=attributes,
            started=None if started is None else int(started * 1e9), on_end=self._on_end,
        )  # fmt: skip

    def remote(self, traceparent: str) -> Span:
        return KnownSpan(trace.NonRecordingSpan(_context_of(traceparent)))

    @contextmanager
    def current(self, span: Span) -> Iterator[None]:
        found = span.found if isinstance(span, KnownSpan) else span
        if not isinstance(found, trace.Span):
            yield
            return
        token = attach(trace.set_span_in_context(found))
        try:
            yield
        finally:
            detach(token)

    def _on_end(self, span: RecordedSpan) -> None:
        self._processor.on_end(span.readable(resource=self._provider.resource, instrumentation_scope=SCOPE))

    async def flush(self, timeout: float) -> None:
        """Wait until the spans that have ended are sent, for `timeout` seconds at most. Return at once while sending fails."""
        if not self._sender.failing and not await _run_in_daemon(self._provider.force_flush, timeout):
            self._sender.failed(f"no answer within {timeout:g} s")

    async def close(self) -> None:
        if not await _run_in_daemon(self._provider.shutdown, CLOSE_TIMEOUT):
            self._sender.failed(f"no answer within {CLOSE_TIMEOUT:g} s")
            self._sender.shutdown()  # ends the retries of the thread that sends


def _context_of(traceparent: str) -> trace.SpanContext:
    """Return the span of a `traceparent`, or the invalid one, which is no parent, if it is malformed."""
    if not is_traceparent(traceparent):
        return trace.INVALID_SPAN_CONTEXT
    _, trace_id, span_id, flags = traceparent.split("-")
    sampled = SAMPLED if int(flags, 16) & trace.TraceFlags.SAMPLED else NOT_SAMPLED
    return trace.SpanContext(int(trace_id, 16), int(span_id, 16), True, sampled)


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
