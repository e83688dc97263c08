"""OTLP collector for tests: receives spans over HTTP, refuses malformed ones as a strict receiver does, and may be down."""

import asyncio
import gzip
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedSpan:
    """One span. `started` and `ended` are seconds since 1970, `links` the ids of other spans, and `events` names."""

    name: str
    trace: str
    id: str
    parent: str
    kind: str
    attributes: dict[str, Any]
    failed: bool
    links: list[str]
    events: list[str]
    started: float
    ended: float
    resource: dict[str, Any]

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace}-{self.id}-01"


@dataclass
class Collector:
    """Listens on a port of 127.0.0.1 while it is up. A request to a collector that hangs is not answered."""

    port: int = 0
    spans: list[ReceivedSpan] = field(default_factory=list)
    refused: int = 0
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    hanging: Event = field(default_factory=Event)
    _server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a process that sends its spans here, soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
        }

    def start(self) -> None:
        """Listen, on the same port as before."""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
                while collector.hanging.is_set():
                    time.sleep(0.02)
                collector.headers.append(dict(self.headers.items()))
                collector.paths.append(self.path)
                self.send_response(200 if collector.receive(body) else 400)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()

    def stop(self) -> None:
        """Refuse connections from now on."""
        self.hanging.clear()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def receive(self, body: bytes) -> bool:
        """Keep the spans of a request. Return whether all their ids are well-formed; otherwise none are kept."""
        request = ExportTraceServiceRequest.FromString(body)
        spans = [
            ReceivedSpan(
                name=span.name, trace=span.trace_id.hex(), id=span.span_id.hex(), parent=span.parent_span_id.hex(),
                kind=KINDS[span.kind], attributes=_values(span.attributes), failed=span.status.code == 2,
                links=[link.span_id.hex() for link in span.links], events=[event.name for event in span.events],
                started=span.start_time_unix_nano / 1e9, ended=span.end_time_unix_nano / 1e9,
                resource=_values(resource.resource.attributes),
            )
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]  # fmt: skip
        if not all(map(_is_well_formed, spans)):
            self.refused += 1
            return False
        self.spans += spans
        return True

    def named(self, name: str, job: str | None = None) -> list[ReceivedSpan]:
        """Return the spans of this name, oldest first."""
        found = [each for each in self.spans if each.name == name]
        return sorted(
            (each for each in found if job in (None, each.attributes.get("messaging.message.id"))),
            key=lambda each: each.started,
        )

    def outcomes(self, job: str) -> list[str]:
        """Return the outcomes of a job's attempts, by their spans."""
        found = [each for each in self.spans if each.attributes.get("messaging.message.id") == job]
        attempts = [each for each in found if each.name.startswith("process ")]
        return [each.attributes["sidelane.outcome"] for each in sorted(attempts, key=lambda each: each.started)]

    async def span(self, name: str, job: str | None = None, *, within: float = 10.0) -> ReceivedSpan:
        """Wait for the one span of this name, and return it."""
        async with asyncio.timeout(within):
            while not (found := self.named(name, job)):
                await asyncio.sleep(0.02)
        assert len(found) == 1, found
        return found[0]


def _values(attributes: Iterable[Any]) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [*map(_value, value.array_value.values)] if kind == "array_value" else getattr(value, kind)


def _is_well_formed(span: ReceivedSpan) -> bool:
    ids = ((span.trace, 32), (span.id, 16), *([(span.parent, 16)] if span.parent else []))
    return all(len(text) == length and set(text) != {"0"} for text, length in ids)


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector inside the block."""
    collector = Collector()
    collector.start()
    try:
        yield collector
    finally:
        collector.stop()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector to which this process, and those that it starts, send their spans soon."""
    with collecting() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running
