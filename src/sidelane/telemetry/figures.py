"""ProcessFigures: counters of one process, for the figures that only the process itself knows."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from typing import Final, get_args

from sidelane.telemetry.events import (
    CallbackTried,
    EventsWritten,
    FirstEvent,
    LoopMeasured,
    MessageAction,
    MessagesHandled,
    StoreCalled,
    StreamClosed,
    StreamKind,
    StreamOpened,
    StreamSlow,
)
from sidelane.telemetry.port import Telemetry

LATENCY_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets of a `Latency` in seconds. One more bucket has everything above the last."""

MAX_LABELS: Final = 200
"""Routes, tasks or endpoints that are counted by name. Further ones are counted as `OTHER`."""

OTHER: Final = "other"

CountedEvent = (
    CallbackTried
    | EventsWritten
    | FirstEvent
    | LoopMeasured
    | MessagesHandled
    | StoreCalled
    | StreamClosed
    | StreamOpened
    | StreamSlow
)
"""What is counted here. The store counts jobs and attempts, for all processes together."""


class Latency:
    """A histogram of durations in seconds. `buckets` has the counts of `LATENCY_BUCKETS`, which are not added up."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(LATENCY_BUCKETS) + 1)
        self.total = 0.0  # the sum of all durations

    @property
    def count(self) -> int:
        """How many durations were observed."""
        return sum(self.buckets)

    def observe(self, seconds: float) -> None:
        """Count a duration."""
        self.buckets[bisect_left(LATENCY_BUCKETS, seconds)] += 1
        self.total += seconds


class Latencies(dict[str, Latency]):
    """A `Latency` for each name, of which there are at most `MAX_LABELS` and `OTHER`."""

    def observe(self, name: str, seconds: float) -> None:
        """Count a duration under a name."""
        self.setdefault(bounded(name, self), Latency()).observe(seconds)


def bounded(name: str, known: "dict[str, Latency] | set[str]") -> str:
    """Return a name that is counted, or `OTHER` if too many others are."""
    return name if name in known or len(known) < MAX_LABELS else OTHER


class ProcessFigures:
    """Counters of this process since its start. All keys have a bounded number of values.

    `PROCESS_FIGURES` is the one that `RequestMetrics` writes to. `listen` adds what a lane reports.
    """

    def __init__(self) -> None:
        self.requests = Counter[tuple[str, str, int]]()  # by method, template of the route, and status
        self.request_seconds = Latencies()  # by template of the route, to the last byte of the response
        self.streams_open = Counter[StreamKind]()
        self.streams_opened = Counter[StreamKind]()
        self.streams_resumed = Counter[StreamKind]()  # of those opened
        self.streams_slow = Counter[StreamKind]()
        self.first_event_seconds = Latencies()  # by task
        self.events = 0
        self.event_bytes = 0
        self.callbacks = Counter[
            tuple[str, str]
        ]()  # by kind, and "delivered" or the status ("503") or the error's name
        self.callback_seconds = Latency()
        self.callback_age = Latency()  # from the end of the job to the delivery
        self.messages = Counter[tuple[str, MessageAction]]()  # by endpoint
        self.message_requests = Counter[tuple[str, MessageAction]]()  # requests that the provider charges for
        self.store_seconds = Latencies()  # by verb of the store's contract
        self.store_errors = Counter[str]()  # by verb
        self.loop_lag = 0.0  # seconds that the event loop lately came too late at most
        self._endpoints: set[str] = set()

    def listen(self, telemetry: Telemetry) -> Callable[[], None]:
        """Count what is reported from now on. Return a function that ends that."""
        return telemetry.subscribe(self.on_event, *get_args(CountedEvent))

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request of the application that was answered."""
        route = bounded(route, self.request_seconds)
        self.request_seconds.observe(route, seconds)
        self.requests[method, route, status] += 1

    def on_event(self, event: CountedEvent) -> None:
        """Count a report."""
        match event:
            case StoreCalled():
                self.store_seconds.observe(event.verb, event.seconds)
                if event.error:
                    self.store_errors[event.verb] += 1
            case EventsWritten():
                self.events += event.count
                self.event_bytes += event.bytes
            case FirstEvent():
                self.first_event_seconds.observe(event.task, event.seconds)
            case StreamOpened() | StreamSlow() | StreamClosed():
                self._count_stream(event)
            case CallbackTried():
                result = "delivered" if not event.error else str(event.status or event.error)
                self.callbacks[event.kind, result] += 1
                self.callback_seconds.observe(event.seconds)
                if not event.error:
                    self.callback_age.observe(event.age)
            case MessagesHandled():
                endpoint = bounded(event.endpoint, self._endpoints)
                self._endpoints.add(endpoint)
                self.messages[endpoint, event.action] += event.count
                self.message_requests[endpoint, event.action] += event.requests
            case LoopMeasured():
                self.loop_lag = event.lag

    def _count_stream(self, event: StreamOpened | StreamSlow | StreamClosed) -> None:
        match event:
            case StreamOpened():
                self.streams_open[event.kind] += 1
                self.streams_opened[event.kind] += 1
                self.streams_resumed[event.kind] += event.resumed
            case StreamSlow():
                self.streams_slow[event.kind] += 1
            case StreamClosed():
                self.streams_open[event.kind] -= 1


PROCESS_FIGURES: Final = ProcessFigures()
"""The figures of this process."""
