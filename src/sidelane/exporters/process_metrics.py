"""Metrics of one process: what only the process itself knows, e.g. its memory, its event loop and its streams."""

import time
from typing import Final

from sidelane.exporters.exposition import Exposition, Kind, Metric
from sidelane.processes.own_usage import own_memory
from sidelane.telemetry import LATENCY_BUCKETS, Latency, ProcessFigures


def _metric(name: str, kind: Kind, help_text: str, *labels: str) -> Metric:
    return Metric(f"sidelane_{name}", kind, help_text, ("process", *labels))


MEMORY: Final = _metric("process_memory_bytes", Kind.GAUGE, "Resident memory of the process.")
CPU: Final = _metric("process_cpu_seconds_total", Kind.COUNTER, "CPU time of the process.")
LOOP_LAG: Final = _metric(
    "process_loop_lag_seconds", Kind.GAUGE, "How late the event loop came at most within about 10 s."
)
SLOTS: Final = _metric("process_slots", Kind.GAUGE, "Jobs that the worker process runs at once at most.")
RUNNING: Final = _metric("process_running", Kind.GAUGE, "Jobs, or requests of an API process, that it works on.")

REQUESTS: Final = _metric("requests_total", Kind.COUNTER, "Requests that were answered.", "method", "route", "status")
REQUEST: Final = _metric(
    "request_seconds", Kind.HISTOGRAM, "Time from a request to the last byte of its response.", "route"
)

STREAMS: Final = _metric("streams", Kind.GAUGE, "Event streams that are open.", "kind")
STREAMS_OPENED: Final = _metric("streams_opened_total", Kind.COUNTER, "Event streams that were opened.", "kind")
STREAMS_RESUMED: Final = _metric("streams_resumed_total", Kind.COUNTER, "Of those, continued after an event.", "kind")
STREAMS_SLOW: Final = _metric("streams_slow_total", Kind.COUNTER, "Event streams whose client read too slowly.", "kind")

EVENTS: Final = _metric("events_written_total", Kind.COUNTER, "Events that the process wrote to the store.")
EVENT_BYTES: Final = _metric("event_bytes_total", Kind.COUNTER, "Bytes of these events.")

CALLBACKS: Final = _metric(
    "callback_attempts_total", Kind.COUNTER, "Attempts to deliver a callback: delivered, or the status or error.",
    "kind", "result",
)  # fmt: skip
CALLBACK: Final = _metric("callback_seconds", Kind.HISTOGRAM, "Time of one attempt to deliver a callback.")
CALLBACK_AGE: Final = _metric(
    "callback_age_seconds", Kind.HISTOGRAM, "Time from the end of a job to the delivery of its callback."
)

MESSAGES: Final = _metric(
    "messages_total", Kind.COUNTER, "Messages, by what was done: sent, received, deleted or extended.",
    "endpoint", "action",
)  # fmt: skip
MESSAGE_REQUESTS: Final = _metric(
    "message_requests_total", Kind.COUNTER, "Requests to the provider, which charges for them.", "endpoint", "action"
)

STORE_CALL: Final = _metric("store_call_seconds", Kind.HISTOGRAM, "Time of calls to the store.", "call")
STORE_ERRORS: Final = _metric("store_call_errors_total", Kind.COUNTER, "Calls to the store that failed.", "call")

METRICS: Final[tuple[Metric, ...]] = (
    MEMORY, CPU, LOOP_LAG, SLOTS, RUNNING, REQUESTS, REQUEST, STREAMS, STREAMS_OPENED, STREAMS_RESUMED, STREAMS_SLOW,
    EVENTS, EVENT_BYTES, CALLBACKS, CALLBACK, CALLBACK_AGE, MESSAGES, MESSAGE_REQUESTS, STORE_CALL, STORE_ERRORS,
)  # fmt: skip
"""Every metric of a process, in the order of the documentation."""


def process_exposition(process: str, figures: ProcessFigures, *, running: int, slots: int | None = None) -> Exposition:
    """Return the metrics of this process, all with its name in the label `process`. It has no `slots` if it runs no jobs."""
    found = Exposition()
    found.add(MEMORY, own_memory(), process)
    found.add(CPU, time.process_time(), process)
    found.add(LOOP_LAG, figures.loop_lag, process)
    found.add(RUNNING, running, process)
    if slots is not None:
        found.add(SLOTS, slots, process)
    _add_web(found, process, figures)
    found.add(EVENTS, figures.events, process)
    found.add(EVENT_BYTES, figures.event_bytes, process)
    for (kind, result), count in figures.callbacks.items():
        found.add(CALLBACKS, count, process, kind, result)
    _add_latency(found, CALLBACK, figures.callback_seconds, process)
    _add_latency(found, CALLBACK_AGE, figures.callback_age, process)
    for (endpoint, action), count in figures.messages.items():
        found.add(MESSAGES, count, process, endpoint, action)
    for (endpoint, action), count in figures.message_requests.items():
        found.add(MESSAGE_REQUESTS, count, process, endpoint, action)
    for call, latency in figures.store_seconds.items():
        _add_latency(found, STORE_CALL, latency, process, call)
    for call, count in figures.store_errors.items():
        found.add(STORE_ERRORS, count, process, call)
    return found


def _add_web(found: Exposition, process: str, figures: ProcessFigures) -> None:
    for (method, route, status), count in figures.requests.items():
        found.add(REQUESTS, count, process, method, route, str(status))
    for route, latency in figures.request_seconds.items():
        _add_latency(found, REQUEST, latency, process, route)
    streams = (
        (STREAMS, figures.streams_open),
        (STREAMS_OPENED, figures.streams_opened),
        (STREAMS_RESUMED, figures.streams_resumed),
        (STREAMS_SLOW, figures.streams_slow),
    )
    for metric, counts in streams:
        for kind, count in counts.items():
            found.add(metric, count, process, kind)


def _add_latency(found: Exposition, metric: Metric, latency: Latency, *labels: str) -> None:
    if latency.count:
        found.histogram(metric, LATENCY_BUCKETS, latency.buckets, latency.total, *labels)
