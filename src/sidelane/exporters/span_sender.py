"""Span sender: an exporter of OpenTelemetry around another, which reports an outage once."""

import logging
from collections.abc import Sequence
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

logger = logging.getLogger(__name__)

SDK_LOGGER: Final = "opentelemetry.sdk._shared_internal"
"""The logger to which the SDK writes that it drops spans because its queue is full."""


class SpanSender(SpanExporter):
    """Sends spans with `exporter`. `failing` is whether the last attempt to send failed."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.failing = False
        self._closed = False
        self._exporter = exporter
        self._outage_filter = OutageFilter(self)
        logging.getLogger(SDK_LOGGER).addFilter(self._outage_filter)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread that sends must go on
            self.failed(str(error) or type(error).__name__)
            return SpanExportResult.FAILURE
        if self.failing:
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
            logging.getLogger(SDK_LOGGER).removeFilter(self._outage_filter)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True  # nothing is kept here


class OutageFilter(logging.Filter):
    """Keeps from the log that the SDK drops spans during an outage that a sender has reported."""

    def __init__(self, sender: SpanSender) -> None:
        super().__init__()
        self._sender = sender

    def filter(self, record: logging.LogRecord) -> bool:
        return not (self._sender.failing and record.msg.startswith("Queue full"))
