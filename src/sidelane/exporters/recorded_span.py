"""Recorded span: a span of our tracer, of the API of OpenTelemetry, and of its SDK at once.

The SDK's own span checks and copies each attribute under a lock, which takes five times as long as the rest of a span. This one
leaves out the limits of `OTEL_SPAN_*` instead.
"""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Final

from opentelemetry import trace
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.util.types import Attributes as AnyAttributes
from opentelemetry.util.types import AttributeValue as AnyValue

from sidelane.telemetry.tracer import NO_ATTRIBUTES, Attributes, Span

MAX_ATTRIBUTES: Final = 128
"""Attributes of a span, as the SDK limits them by default. Further ones are left out."""

SCOPE: Final = InstrumentationScope("sidelane")
UNSET: Final = trace.Status()
SAMPLED, NOT_SAMPLED = trace.TraceFlags(trace.TraceFlags.SAMPLED), trace.TraceFlags()


class RecordedSpan(Span, trace.Span, ReadableSpan):
    """A span that is recorded. Code that asks OpenTelemetry for the current span may get this one, and add to it.

    The SDK reads it as its own, so nothing is copied at its end. Its ids stay text until the thread that sends it reads them.

    `remote` is whether another process records the parent. `started` is in nanoseconds since 1970. `on_end` is called once, at the
    end of the span.
    """

    def __init__(
        self,
        name: str,
        traceparent: str,
        *,
        parent: str | None,
        remote: bool,
        kind: trace.SpanKind,
        links: Sequence[trace.Link],
        attributes: Attributes,
        started: int | None,
        provider: TracerProvider,
        on_end: "Callable[[RecordedSpan], None]",
    ) -> None:
        # the names are those of `ReadableSpan`, whose own constructor is not called because it only sets them
        self._name = name
        self._traceparent = traceparent
        self._parent_text = parent
        self._remote = remote
        self._kind = kind
        self._links = links
        self._attributes: dict[str, AnyValue] = dict(islice(attributes.items(), MAX_ATTRIBUTES))
        self._events: list[Event] = []
        self._status = UNSET
        self._start_time = time.time_ns() if started is None else started
        self._end_time: int | None = None
        self._resource = provider.resource
        self._instrumentation_info = None
        self._instrumentation_scope = SCOPE
        self._on_end = on_end

    @property
    def traceparent(self) -> str:
        return self._traceparent

    @cached_property
    def _context(self) -> trace.SpanContext:  # type: ignore[override]
        return context_of(self._traceparent)

    @cached_property
    def _parent(self) -> trace.SpanContext | None:  # type: ignore[override]
        return None if self._parent_text is None else context_of(self._parent_text, remote=self._remote)

    def set(self, attributes: Attributes) -> None:
        self.set_attributes(attributes)

    def fail(self, description: str, error_type: str = "") -> None:
        self.set_status(trace.StatusCode.ERROR, description)
        if error_type:
            self.set_attribute("error.type", error_type)

    def end(self, end_time: int | None = None) -> None:
        if self._end_time is None:
            self._end_time = end_time or time.time_ns()
            self._on_end(self)

    def get_span_context(self) -> trace.SpanContext:
        return self._context

    def is_recording(self) -> bool:
        return self._end_time is None

    def update_name(self, name: str) -> None:
        self._name = name

    def set_attribute(self, key: str, value: AnyValue) -> None:
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, AnyValue]) -> None:
        if self._end_time is not None:
            return  # the thread that sends it may read them now
        known = self._attributes
        for name, value in attributes.items():
            if len(known) < MAX_ATTRIBUTES or name in known:
                known[name] = value

    def add_event(self, name: str, attributes: AnyAttributes = None, timestamp: int | None = None) -> None:
        if self._end_time is None and len(self._events) < MAX_ATTRIBUTES:
            self._events.append(Event(name, attributes, timestamp))

    def set_status(self, status: trace.Status | trace.StatusCode, description: str | None = None) -> None:
        if isinstance(status, trace.StatusCode):
            status = trace.Status(status, description)
        if self._status.status_code is not trace.StatusCode.OK:  # by the specification, nothing replaces OK
            self._status = status

    def record_exception(
        self,
        exception: BaseException,
        attributes: AnyAttributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        found = {
            "exception.type": type(exception).__qualname__,
            "exception.message": str(exception),
            "exception.stacktrace": "".join(traceback.format_exception(exception)),
            "exception.escaped": str(escaped),
        }
        self.add_event("exception", {**found, **(attributes or NO_ATTRIBUTES)}, timestamp)


class KnownSpan(Span):
    """A span that another process records, or that is not sampled."""

    def __init__(self, traceparent: str, *, remote: bool) -> None:
        self._traceparent = traceparent
        self._remote = remote

    @property
    def traceparent(self) -> str | None:
        return self._traceparent or None

    @property
    def found(self) -> trace.Span:
        """The same span for the API of OpenTelemetry."""
        return trace.NonRecordingSpan(context_of(self._traceparent, remote=self._remote))


def traceparent_of(span: trace.Span) -> str | None:
    """Return the `traceparent` of a span, or None if it has no ids."""
    if isinstance(span, RecordedSpan):
        return span.traceparent
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def context_of(traceparent: str, *, remote: bool = False) -> trace.SpanContext:
    """Return the span of a `traceparent`, or the invalid one if the text is empty."""
    if not traceparent:
        return trace.INVALID_SPAN_CONTEXT
    _, trace_id, span_id, _ = traceparent.split("-")
    flags = SAMPLED if is_sampled(traceparent) else NOT_SAMPLED
    return trace.SpanContext(int(trace_id, 16), int(span_id, 16), remote, flags)


def is_sampled(traceparent: str) -> bool:
    """Return whether a span is recorded, by the last part of its `traceparent`."""
    return bool(int(traceparent[-2:], 16) & trace.TraceFlags.SAMPLED)
