"""OTLP exporter: encodes spans and sends them over HTTP as protobuf, as the `OTEL_EXPORTER_OTLP_*` variables say.

https://opentelemetry.io/docs/specs/otlp/. OpenTelemetry's own exporter takes three times as long for a span. The event loop of
its process waits meanwhile.
"""

import gzip
import os
import threading
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from itertools import groupby
from struct import Struct
from typing import Final

import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as EncodedSpan
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, SpanKind, StatusCode
from opentelemetry.util.re import parse_env_headers

from sidelane.model.json_text import escape_surrogates

PATH: Final = "/v1/traces"
DEFAULT_ENDPOINT: Final = "http://localhost:4318"
DEFAULT_TIMEOUT: Final = 10.0
"""Seconds in which a batch must be sent, with all retries."""

RETRIED: Final = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT
    }
)  # fmt: skip
"""Answers after which a batch is sent again."""

FIRST_DELAY: Final = 1.0
"""Seconds before the first retry, unless the receiver names them. They double with each retry."""

MAX_ANSWER: Final = 200
"""Characters of an answer that an error repeats."""

MAX_REPEATED: Final = 24
"""Characters of values that are probably the same in many spans, e.g. the name of a queue. Ids of jobs are longer."""

SPANS_AT_ONCE: Final = 16
PAUSE: Final = 0.0002
"""Spans that are encoded before other threads may run, and seconds of the pause.

Without it, the event loop of the process would wait for the interpreter during each switch interval of Python, which is 5 ms.
"""

HAS_IS_REMOTE, IS_REMOTE = 0x100, 0x200

_TRACE_ID, _SPAN_ID, _PARENT_ID = b"\x0a\x10", b"\x12\x08", b"\x22\x08"
"""Number, type and length of fields of a span. Those of fixed length are encoded here, because protobuf is slow with them."""

_START_TIME, _END_TIME = 0x39, 0x41
_TIMES: Final = Struct("<BQBQ")
"""The number, type and value of both times."""


class NotSent(Exception):
    """A batch was not sent. The message says why."""


class OtlpExporter(SpanExporter):
    """Sends spans to a receiver. `endpoint` is a whole URL, and `headers` are sent beside those of the variables."""

    def __init__(self, *, endpoint: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        self._endpoint = endpoint or _variable("ENDPOINT", PATH) or DEFAULT_ENDPOINT + PATH
        self._timeout = float(_variable("TIMEOUT") or DEFAULT_TIMEOUT)
        self._gzip = _variable("COMPRESSION") == "gzip"
        self._closing = threading.Event()
        self._session = requests.Session()
        self._session.verify = _variable("CERTIFICATE") or True
        if certificate := _variable("CLIENT_CERTIFICATE"):
            self._session.cert = (certificate, _variable("CLIENT_KEY") or certificate)
        self._session.headers.update(
            {
                **parse_env_headers(_variable("HEADERS") or "", liberal=True),
                **(headers or {}),
                "Content-Type": "application/x-protobuf",
                **({"Content-Encoding": "gzip"} if self._gzip else {}),
            }
        )

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch. Raises `NotSent`."""
        body = encode_spans(spans)
        self._send(gzip.compress(body) if self._gzip else body)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """End the retries of a batch that is being sent."""
        self._closing.set()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True  # nothing is kept here

    def _send(self, body: bytes) -> None:
        end, delay = time.monotonic() + self._timeout, FIRST_DELAY
        while True:
            reason, wait = self._try(body, max(0.1, end - time.monotonic()))
            if reason is None:
                return
            wait = delay if wait is None else wait
            if wait < 0 or time.monotonic() + wait > end or self._closing.wait(wait):
                raise NotSent(reason)
            delay *= 2

    def _try(self, body: bytes, timeout: float) -> tuple[str | None, float | None]:
        """Send a batch once. Return why that failed, and after how many seconds to try again (None: as always; -1: not)."""
        try:
            answer = self._session.post(self._endpoint, data=body, timeout=timeout, allow_redirects=False)
        except requests.RequestException as error:
            return f"{type(error).__name__}: {error}", None
        if answer.ok:
            return None, None
        reason = f"{self._endpoint} answered {answer.status_code}: {answer.text[:MAX_ANSWER]}"
        if answer.status_code not in RETRIED:
            return reason, -1.0
        after = answer.headers.get("retry-after", "")
        return reason, float(after) if after.isdecimal() else None


def _variable(name: str, suffix: str = "") -> str | None:
    """Return the variable for traces, or the one for all signals with a suffix."""
    own = os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}")
    if own:
        return own
    general = os.environ.get(f"OTEL_EXPORTER_OTLP_{name}")
    return f"{general.rstrip('/')}{suffix}" if general else None


def encode_spans(spans: Sequence[ReadableSpan]) -> bytes:
    """Return spans as the bytes of an `ExportTraceServiceRequest`."""
    request = ExportTraceServiceRequest()
    for _, group in groupby(spans, key=lambda span: id(span.resource)):
        request.resource_spans.append(_resource_spans(list(group)))
    encoded: bytes = request.SerializeToString()
    return encoded


def _resource_spans(spans: Sequence[ReadableSpan]) -> ResourceSpans:
    found = ResourceSpans()
    for name, value in spans[0].resource.attributes.items():
        _set(found.resource.attributes.add(), name, value)
    scope_spans = found.scope_spans.add()
    if spans[0].instrumentation_scope is not None:
        scope_spans.scope.name = spans[0].instrumentation_scope.name
    for number, span in enumerate(spans, start=1):
        scope_spans.spans.add().MergeFromString(_encode(span))
        if number % SPANS_AT_ONCE == 0:
            time.sleep(PAUSE)
    return found


def _encode(span: ReadableSpan) -> bytes:
    """Return the bytes of a span. Those of several messages of one type, joined, are the bytes of the merged message."""
    parts = [
        _repeated(span.name, span.kind, _flags(span.parent), span.status.status_code),
        _ids(span.context, span.parent),
        _TIMES.pack(_START_TIME, span.start_time or 0, _END_TIME, span.end_time or 0),
    ]
    encoded = EncodedSpan()
    for name, value in (span.attributes or {}).items():
        kind = type(value)
        if (kind is str and len(value) <= MAX_REPEATED) or kind in (bool, int):  # type: ignore[arg-type]
            parts.append(_attribute(name, value, kind))  # type: ignore[arg-type]
        else:
            _set(encoded.attributes.add(), name, value)
    if span.status.description:
        encoded.status.code = span.status.status_code.value  # type: ignore[assignment]
        encoded.status.message = escape_surrogates(span.status.description)
    for event in span.events:
        added = encoded.events.add()
        added.name, added.time_unix_nano = escape_surrogates(event.name), event.timestamp
        for name, value in (event.attributes or {}).items():
            _set(added.attributes.add(), name, value)
    for link in span.links:
        linked = encoded.links.add()
        linked.trace_id, linked.span_id = _bytes_of(link.context)
        linked.flags = _flags(link.context)
    parts.append(encoded.SerializeToString())
    return b"".join(parts)


def _ids(context: SpanContext | None, parent: SpanContext | None) -> bytes:
    """Return the bytes of a span that has only ids."""
    found = b""
    if context is not None:
        trace_id, span_id = _bytes_of(context)
        found = _TRACE_ID + trace_id + _SPAN_ID + span_id
    return found if parent is None else found + _PARENT_ID + _bytes_of(parent)[1]


def _bytes_of(context: SpanContext) -> tuple[bytes, bytes]:
    return context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big")


@lru_cache(maxsize=1024)
def _repeated(name: str, kind: SpanKind, flags: int, status: StatusCode) -> bytes:
    """Return the bytes of a span that has what many spans have in common."""
    span = EncodedSpan(name=escape_surrogates(name), kind=kind.value + 1, flags=flags)  # type: ignore[arg-type]  # 0: unspecified
    span.status.code = status.value  # type: ignore[assignment]
    encoded: bytes = span.SerializeToString()
    return encoded


@lru_cache(maxsize=4096)
def _attribute(name: str, value: str | int, kind: type) -> bytes:
    """Return the bytes of a span that has one attribute. `kind` is the type of the value, because 1 and True are the same key."""
    span = EncodedSpan()
    _set(span.attributes.add(), name, value)
    encoded: bytes = span.SerializeToString()
    return encoded


def _flags(other: SpanContext | None) -> int:
    """Return the flags that say whether a parent, or the span of a link, is in another process."""
    return HAS_IS_REMOTE | (IS_REMOTE if other is not None and other.is_remote else 0)


def _set(pair: KeyValue, name: object, value: object) -> None:
    """Set an attribute. Because of a lone surrogate a receiver would get none of the spans that are sent together."""
    pair.key = escape_surrogates(str(name))
    _set_value(pair.value, value)


def _set_value(holder: AnyValue, value: object) -> None:
    """Set a value. One of a type that OTLP does not have is sent as text."""
    match value:
        case str():
            holder.string_value = escape_surrogates(value)
        case bool():
            holder.bool_value = value
        case int() if -(1 << 63) <= value < 1 << 63:
            holder.int_value = value
        case float():
            holder.double_value = value
        case list() | tuple():
            for each in value:
                _set_value(holder.array_value.values.add(), each)
        case _:
            holder.string_value = escape_surrogates(str(value))
