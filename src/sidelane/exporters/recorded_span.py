"""Recorded span: a span of our tracer and of the API of OpenTelemetry at once.

The SDK's own span checks and copies each attribute under a lock, which takes five times as long as the rest of a span. This one
leaves out the limits of `OTEL_SPAN_*` instead.
"""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.util.types import Attributes as AnyAttributes
from opentelemetry.util.types import AttributeValue as AnyValue

from sidelane.telemetry.tracer import NO_ATTRIBUTES, Attributes, Span

MAX_ATTRIBUTES: Final = 128
"""Attributes of a span, as the SDK limits them by default. Further ones are left out."""

UNSET: Final = trace.Status()


class RecordedSpan(Span, trace.Span):
    """A span that is recorded. Code that asks OpenTelemetry for the current span may get this one, and add to it.

    `on_end` is called once, at its end. `started` is in nanoseconds since 1970.
    """

    def __init__(
        self,
        name: str,
        context: trace.SpanContext,
        *,
        parent: trace.SpanContext | None,
        kind: trace.SpanKind,
        links: Sequence[trace.Link],
        attributes: Attributes,
        started: int | None,
        on_end: "Callable[[RecordedSpan], None]",
    ) -> None:
        self._name = name
        self._context = context
        self._parent = parent
        self._kind = kind
        self._links = links
        self._attributes: dict[str, AnyValue] = dict(islice(attributes.items(), MAX_ATTRIBUTES))
        self._events: list[Event] = []
        self._status = UNSET
        self._started = time.time_ns() if started is None else started
        self._ended: int | None = None
        self._on_end = on_end

    @cached_property
    def traceparent(self) -> str | None:  # read several times
        return traceparent_of(self._context)

    def set(self, attributes: Attributes) -> None:
        self.set_attributes(attributes)

    def fail(self, description: str, error_type: str = "") -> None:
        self.set_status(trace.StatusCode.ERROR, description)
        if error_type:
            self.set_attribute("error.type", error_type)

    def end(self, end_time: int | None = None) -> None:
        if self._ended is None:
            self._ended = end_time or time.time_ns()
            self._on_end(self)

    def get_span_context(self) -> trace.SpanContext:
        return self._context

    def is_recording(self) -> bool:
        return self._ended is None

    def update_name(self, name: str) -> None:
        self._name = name

    def set_attribute(self, key: str, value: AnyValue) -> None:
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, AnyValue]) -> None:
        if self._ended is not None:
            return  # the thread that sends it may read them now
        known = self._attributes
        for name, value in attributes.items():
            if len(known) < MAX_ATTRIBUTES or name in known:
                known[name] = value

    def add_event(self, name: str, attributes: AnyAttributes = None, timestamp: int | None = None) -> None:
        if self._ended is None and len(self._events) < MAX_ATTRIBUTES:
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

    def readable(self, **of_process: Any) -> ReadableSpan:
        """Return the span as the SDK sends it. `of_process` has its resource and scope."""
        return ReadableSpan(
            name=self._name, context=self._context, parent=self._parent, kind=self._kind, links=self._links,
            attributes=self._attributes, events=self._events, status=self._status, start_time=self._started,
            end_time=self._ended, **of_process,
        )  # fmt: skip


class KnownSpan(Span):
    """A span that another process records, or that is not sampled."""

    def __init__(self, found: trace.Span) -> None:
        self.found = found

    @cached_property
    def traceparent(self) -> str | None:
        return traceparent_of(self.found.get_span_context())


def traceparent_of(context: trace.SpanContext) -> str | None:
    """Return the `traceparent` of a span, or None if it has no ids."""
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
