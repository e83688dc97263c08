"""OpenTelemetry tracer: records spans, and sends them over OTLP with the SDK of OpenTelemetry."""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, Decision

from sidelane.exporters.otlp import OtlpExporter
from sidelane.exporters.recorded_span import KnownSpan, RecordedSpan, context_of, is_sampled, traceparent_of
from sidelane.exporters.span_sender import SpanSender
from sidelane.model.ids import is_traceparent
from sidelane.telemetry.tracer import NO_ATTRIBUTES, Attributes, Span, SpanKind, Tracer

CLOSE_TIMEOUT: Final = 3.0
"""Seconds in which the remaining spans of a process are sent when it closes its tracer."""

IDS: Final = RandomIdGenerator()
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
        return traceparent_of(trace.get_current_span())

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
        if parent is None:
            current = trace.get_current_span()
            above, remote = traceparent_of(current), current.get_span_context().is_remote
        else:
            above, remote = parent if is_traceparent(parent) else None, True
        trace_id = f"{IDS.generate_trace_id():032x}" if above is None else above[3:35]
        span_id = f"{IDS.generate_span_id():016x}"
        followed = [trace.Link(context_of(link, remote=True)) for link in links if is_traceparent(link)]
        if not self._is_sampled(above, trace_id, name, KINDS[kind], attributes, followed):
            return KnownSpan(f"00-{trace_id}-{span_id}-00", remote=False)
        return RecordedSpan(
            name, f"00-{trace_id}-{span_id}-01", parent=above, remote=remote, kind=KINDS[kind], links=followed,
            attributes=attributes, started=None if started is None else int(started * 1e9), provider=self._provider,
            on_end=self._processor.on_end,
        )  # fmt: skip

    def _is_sampled(self, above: str | None, trace_id: str, *described: Any) -> bool:
        """Return whether to record a span below `above`. `described` are the further arguments of a sampler."""
        sampler = self._provider.sampler
        if sampler is DEFAULT_ON:  # what it decides, without its checks
            return above is None or is_sampled(above)
        below = trace.NonRecordingSpan(context_of(above or "", remote=True))
        context = trace.set_span_in_context(below, NO_CONTEXT)
        return sampler.should_sample(context, int(trace_id, 16), *described).decision is Decision.RECORD_AND_SAMPLE

    def remote(self, traceparent: str) -> Span:
        return KnownSpan(traceparent if is_traceparent(traceparent) else "", remote=True)

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

    async def flush(self, timeout: float) -> None:
        """Wait until the spans that have ended are sent, for `timeout` seconds at most. Return at once while sending fails."""
        if not self._sender.failing and not await _run_in_daemon(self._provider.force_flush, timeout):
            self._sender.failed(f"no answer within {timeout:g} s")

    async def close(self) -> None:
        if not await _run_in_daemon(self._provider.shutdown, CLOSE_TIMEOUT):
            self._sender.failed(f"no answer within {CLOSE_TIMEOUT:g} s")
            self._sender.shutdown()  # ends the retries of the thread that sends


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
