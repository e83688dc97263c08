"""Langfuse: sends spans to it over OTLP, with what it reads in other attributes than OpenTelemetry's.

Its variables are those of its own clients: `LANGFUSE_BASE_URL` or `LANGFUSE_HOST`, `LANGFUSE_PUBLIC_KEY`, `LANGFUSE_SECRET_KEY` and
`LANGFUSE_TRACING_ENVIRONMENT`.
"""

import hashlib
import os
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from sidelane.exporters.opentelemetry import OpenTelemetryTracer, otlp_tracer
from sidelane.exporters.otlp import OtlpExporter
from sidelane.model.codec import rfc3339
from sidelane.model.errors import ConfigurationError

TRACES_PATH: Final = "/api/public/otel/v1/traces"

INGESTION_VERSION: Final = "4"
"""With this version Langfuse shows spans within seconds. Otherwise that takes minutes."""

MAX_ID: Final = 200
"""Characters of the id of a user or a session. Langfuse takes US-ASCII, and drops ids that are longer."""

INTERNAL_PREFIX: Final = "sidelane."
"""Prefix of the tasks that send callbacks and the like, which do not name a trace."""

IDS: Final = ("user.id", "session.id", "gen_ai.conversation.id", "langfuse.user.id", "langfuse.session.id")


class LangfuseExporter(SpanExporter):
    """Sends spans with `exporter`, after it has added what Langfuse reads."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export(list(map(_for_langfuse, spans)))

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def langfuse_tracer(*, release: str) -> OpenTelemetryTracer:
    """Return a tracer that sends spans to Langfuse. Raises `ConfigurationError` if a variable is missing."""
    return otlp_tracer(
        release=release, exporter=langfuse_exporter(os.environ), attributes=langfuse_resource(os.environ, release)
    )


def langfuse_exporter(environ: Mapping[str, str]) -> LangfuseExporter:
    """Return an exporter with the address and the keys of the environment. Raises `ConfigurationError` if one is missing."""
    host = environ.get("LANGFUSE_BASE_URL") or environ.get("LANGFUSE_HOST") or ""
    public, secret = environ.get("LANGFUSE_PUBLIC_KEY", ""), environ.get("LANGFUSE_SECRET_KEY", "")
    needed = {"LANGFUSE_BASE_URL": host, "LANGFUSE_PUBLIC_KEY": public, "LANGFUSE_SECRET_KEY": secret}
    if missing := [name for name, value in needed.items() if not value]:
        raise ConfigurationError(
            f"SIDELANE_TRACES=langfuse needs {' and '.join(missing)}: copy them from the settings of your project in Langfuse."
        )
    if not host.startswith(("http://", "https://")):
        raise ConfigurationError(f"LANGFUSE_BASE_URL={host!r}: an address starts with https:// or http://.")
    headers = {
        "Authorization": f"Basic {b64encode(f'{public}:{secret}'.encode()).decode()}",
        "x-langfuse-ingestion-version": INGESTION_VERSION,
    }
    return LangfuseExporter(OtlpExporter(endpoint=host.rstrip("/") + TRACES_PATH, headers=headers))


def langfuse_resource(environ: Mapping[str, str], release: str) -> dict[str, str]:
    """Return the attributes by which Langfuse filters all spans of a process."""
    attributes = {"langfuse.environment": environ.get("LANGFUSE_TRACING_ENVIRONMENT", ""), "langfuse.release": release}
    return {name: value for name, value in attributes.items() if value}


def langfuse_id(text: str) -> str:
    """Return an id that Langfuse accepts: the same one if it can be, else its printable part and a hash of the whole."""
    if len(text) <= MAX_ID and text.isascii() and text.isprintable():
        return text
    readable = "".join(each for each in text if each.isascii() and each.isprintable())
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]
    return f"{readable[: MAX_ID - len(digest) - 1]}-{digest}".lstrip("-")


def _for_langfuse(span: ReadableSpan) -> ReadableSpan:
    """Return a copy of a span with the attributes of Langfuse."""
    attributes = span.attributes or {}
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes={**attributes, **_added(attributes, span.start_time or 0)},
        events=span.events,
        links=span.links,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _added(attributes: Mapping[str, object], started: int) -> dict[str, str]:
    """Return the attributes to add to a span, or to replace. `started` is in nanoseconds since 1970."""
    added = {name: langfuse_id(str(attributes[name])) for name in IDS if name in attributes}
    if "gen_ai.conversation.id" in added:
        added["session.id"] = added["gen_ai.conversation.id"]
    first_token = attributes.get("gen_ai.response.time_to_first_chunk")
    if isinstance(first_token, float):
        added["langfuse.observation.completion_start_time"] = rfc3339(started / 1e9 + first_token)
    task = str(attributes.get("sidelane.task", INTERNAL_PREFIX))
    if not task.startswith(INTERNAL_PREFIX):
        added["langfuse.trace.name"] = task
    return added
