"""Streams: which event streams this process serves, and how it tells telemetry about them."""

import time
from collections import Counter
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from sidelane.telemetry.events import StreamClosed, StreamKind, StreamOpened, StreamSlow
from sidelane.telemetry.port import Telemetry
from sidelane.telemetry.tracer import NO_SPAN, Span

SLOW_AFTER: Final = 1.0
"""Seconds that a frame waits for its client to read, after which the stream counts as slow."""


class Streams:
    """The open event streams of one lane in this process. `open` is their number."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.open = 0
        self._listeners = Counter[str]()  # by job
        self._telemetry = telemetry

    def listeners(self, jobs: int) -> Mapping[str, int]:
        """Return how many clients listen to each job, of the `jobs` with most."""
        return dict(self._listeners.most_common(jobs))

    def _forget_listener(self, job: str) -> None:
        self._listeners[job] -= 1
        if not self._listeners[job]:
            del self._listeners[job]

    @contextmanager
    def track(
        self, kind: StreamKind, *, job: str | None = None, resumed: bool = False, span: Span = NO_SPAN
    ) -> Iterator["Stream"]:
        """Count a stream within the block, after which its span ends.

        `job` is the one that its client listens to. `resumed` is whether it continues after an event that its client has.
        """
        stream, reported = Stream(self._telemetry, kind), self._telemetry.wants(StreamOpened)
        self.open += 1
        if job is not None:
            self._listeners[job] += 1
        if reported:
            self._telemetry.report(StreamOpened(kind=kind, resumed=resumed))
        try:
            yield stream
        finally:
            self.open -= 1
            if job is not None:
                self._forget_listener(job)
            span.set(
                {"sidelane.stream.kind": kind, "sidelane.stream.resumed": resumed, "sidelane.stream.sent": stream.sent}
            )
            span.end()
            if reported:
                self._telemetry.report(StreamClosed(kind=kind, seconds=time.monotonic() - stream.opened))


class Stream:
    """One open stream."""

    def __init__(self, telemetry: Telemetry, kind: StreamKind) -> None:
        self.opened = time.monotonic()
        self.sent = 0  # frames
        self._telemetry = telemetry
        self._kind = kind
        self._slow = False

    async def send(self, sending: Awaitable[None]) -> None:
        """Wait until a frame is sent. Report once if the client is slow to read."""
        started = time.monotonic()
        self.sent += 1
        try:
            await sending
        finally:
            seconds = time.monotonic() - started
            if seconds >= SLOW_AFTER and not self._slow:
                self._slow = True
                if self._telemetry.wants(StreamSlow):
                    self._telemetry.report(StreamSlow(kind=self._kind, seconds=seconds))
