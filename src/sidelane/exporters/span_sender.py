"""Span sender: an exporter of OpenTelemetry around another. It holds back what receivers refuse, and reports an outage once."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext

logger = logging.getLogger(__name__)

SDK_LOGGERS: Final = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal")
"""Loggers to which the SDK writes each failure to send, and each span that it drops meanwhile."""


class SpanSender(SpanExporter):
    """Sends spans with `exporter`. `failing` is whether the last attempt to send failed.

    A receiver may refuse a whole batch because of one malformed id, so spans with such ids are left out.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self.failing = False
        self._closed = False
        self._exporter = exporter
        self._outage_filter = OutageFilter(self)
        for name in SDK_LOGGERS:
            logging.getLogger(name).addFilter(self._outage_filter)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        valid = [span for span in spans if has_valid_ids(span)]
        if len(valid) < len(spans):
            logger.warning("spans with malformed ids are not sent: %d", len(spans) - len(valid))
        if not valid:
            return SpanExportResult.SUCCESS
        with _captured_logs() as messages:
            try:
                result = self._exporter.export(valid)
            except Exception as error:  # noqa: BLE001 - of the driver; the thread that sends must go on
                messages.append(f"{type(error).__name__}: {error}")
                result = SpanExportResult.FAILURE
        if result is SpanExportResult.FAILURE:
            self.failed(messages[0] if messages else "the receiver refused them")
        elif self.failing:
            self.failing = False
            logger.warning("spans are sent again")
        return result

    def failed(self, reason: str) -> None:
        """Note that spans cannot be sent, and log it unless it is known."""
        if not self.failing:
            self.failing = True
            logger.warning(
                "spans cannot be sent, and are dropped until they can; nothing else is affected, and this is logged once: %s",
                reason,
            )

    def shutdown(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._exporter.shutdown()
        if not self.failing:  # else the thread that sends may still log that it gives up
            for name in SDK_LOGGERS:
                logging.getLogger(name).removeFilter(self._outage_filter)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True  # nothing is kept here


def has_valid_ids(span: ReadableSpan) -> bool:
    """Return whether a strict receiver accepts the ids of a span, those of its parent and of its links."""
    contexts = [span.context, *(link.context for link in span.links), *([span.parent] if span.parent else [])]
    return all(map(_is_valid, contexts))


def _is_valid(context: SpanContext | None) -> bool:
    return context is not None and 0 < context.trace_id < 1 << 128 and 0 < context.span_id < 1 << 64


class OutageFilter(logging.Filter):
    """Keeps from the log what the SDK writes about an outage that a sender has reported, or is about to report."""

    def __init__(self, sender: SpanSender) -> None:
        super().__init__()
        self._sender = sender

    def filter(self, record: logging.LogRecord) -> bool:
        messages = _messages.get()
        if messages is not None:
            messages.append(record.getMessage())
            return False
        return not (self._sender.failing and record.msg.startswith("Queue full"))


_messages: ContextVar[list[str] | None] = ContextVar("sidelane_export_messages", default=None)


@contextmanager
def _captured_logs() -> Iterator[list[str]]:
    """Yield a list to which the messages of the SDK go within the block, in this thread."""
    messages: list[str] = []
    token = _messages.set(messages)
    try:
        yield messages
    finally:
        _messages.reset(token)
