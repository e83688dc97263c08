"""Opens the tracer of a process, by the setting `traces`. OpenTelemetry is imported only if it is on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sidelane.model.errors import ConfigurationError, MissingExtra
from sidelane.model.settings import Settings
from sidelane.telemetry.port import Telemetry
from sidelane.telemetry.tracer import NO_TRACER, Tracer


@asynccontextmanager
async def tracing(telemetry: Telemetry, settings: Settings) -> AsyncIterator[None]:
    """Record the spans of this process within the block, if the settings say so. Raises `ConfigurationError`."""
    telemetry.tracer = tracer = open_tracer(settings)
    try:
        yield
    finally:
        telemetry.tracer = NO_TRACER
        await tracer.close()


def open_tracer(settings: Settings) -> Tracer:
    """Return the tracer of this process, which the caller closes. Raises `MissingExtra`, or `ConfigurationError` if a variable of
    the environment is missing or wrong.

    Each process opens its own after its start, because the thread that sends spans does not survive a fork.
    """
    if not settings.traces:
        return NO_TRACER
    try:
        from sidelane.exporters.langfuse import langfuse_tracer
        from sidelane.exporters.opentelemetry import otlp_tracer
    except ModuleNotFoundError as error:
        raise MissingExtra("Traces need OpenTelemetry: pip install 'sidelane[tracing]'.") from error
    open_selected = langfuse_tracer if settings.traces == "langfuse" else otlp_tracer
    try:
        return open_selected(release=settings.release)
    except ValueError as error:
        raise ConfigurationError(f"The OTEL_* variables cannot be used: {error}") from error
