"""Tracer: records spans of the work of a process. This one records none; that of `exporters` sends them over OpenTelemetry.

The parts of a process use the tracer of their lane's telemetry, so that tracing costs nothing while it is off.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

AttributeValue = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, AttributeValue]

NO_ATTRIBUTES: Final[Attributes] = {}

NEW_TRACE: Final = ""
"""The parent of a span that begins a new trace, whatever span is current."""

MAX_DESCRIPTION: Final = 1000
"""Characters of an error by which a block marks its span as failed."""


class SpanKind(StrEnum):
    """The kinds of spans of OpenTelemetry."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


class Span:
    """One operation in a trace. This one records nothing."""

    @property
    def traceparent(self) -> str | None:
        """The `traceparent` (W3C Trace Context) for what this operation causes, or None without tracing.

        It also says whether the operation is recorded. If it is not, nothing that it causes is.
        """
        return None

    def set(self, attributes: Attributes) -> None:
        """Add attributes, or replace them."""

    def add_event(self, name: str, attributes: Attributes = NO_ATTRIBUTES) -> None:
        """Add an event at the present time."""

    def fail(self, description: str, error_type: str = "") -> None:
        """Mark the operation as failed. `error_type` is a short name of the error, e.g. of its class."""

    def end(self) -> None:
        """End the operation. Only the first call counts."""


class Tracer:
    """Starts spans. `active` is whether they are recorded, so that their attributes need not be built otherwise."""

    active = False

    @property
    def traceparent(self) -> str | None:
        """The `traceparent` of the span that is current in this context, or None."""
        return None

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
        """Start a span below `parent`, a `traceparent` (None: the span that is current in this context).

        `links` are the `traceparent` of other spans that the operation has to do with. `started` is when the operation began, in
        seconds since 1970 (None: now). The caller ends the span.
        """
        return NO_SPAN

    def remote(self, traceparent: str) -> Span:
        """Return a span that another process records, to make it current here."""
        return NO_SPAN

    @contextmanager
    def current(self, span: Span) -> Iterator[None]:
        """Make a span the parent of the spans that are started within the block, also of those of the user's code."""
        yield

    @contextmanager
    def span(
        self,
        name: str,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        parent: str | None = None,
        links: Sequence[str] = (),
        attributes: Attributes = NO_ATTRIBUTES,
    ) -> Iterator[Span]:
        """Start a span that is current within the block, and end it after the block. An error of the block marks it as failed."""
        if not self.active:
            yield NO_SPAN
            return
        span = self.start(name, kind=kind, parent=parent, links=links, attributes=attributes)
        try:
            with self.current(span):
                yield span
        except BaseException as error:
            span.fail(f"{type(error).__name__}: {error}"[:MAX_DESCRIPTION], type(error).__name__)
            raise
        finally:
            span.end()

    async def flush(self, timeout: float) -> None:
        """Wait until the spans that have ended are sent, for `timeout` seconds at most."""

    async def close(self) -> None:
        """Send the remaining spans and stop."""


NO_SPAN: Final = Span()

NO_TRACER: Final = Tracer()
