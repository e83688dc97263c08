"""Telemetry: the one port to which the parts of a process report what happened."""

import logging
from collections.abc import Callable
from typing import Any, Final, get_args

from sidelane.telemetry.events import TelemetryEvent
from sidelane.telemetry.tracer import NO_TRACER

Listener = Callable[[Any], None]
"""Takes each report of the kinds that it has subscribed to."""

ALL_KINDS: Final[tuple[type[TelemetryEvent], ...]] = get_args(TelemetryEvent)

logger = logging.getLogger(__name__)


class Telemetry:
    """Passes reports to listeners. What no listener wants is not even built.

    So the parts of a process ask first: `if telemetry.wants(JobSubmitted): telemetry.report(JobSubmitted(…))`. `tracer` records
    spans.
    """

    def __init__(self) -> None:
        self.active = False  # whether there are listeners
        self.tracer = NO_TRACER
        self._listeners: dict[type[TelemetryEvent], tuple[Listener, ...]] = {}
        self._failed: set[int] = set()  # ids of listeners whose first error was logged

    def wants(self, kind: type[TelemetryEvent]) -> bool:
        """Return whether a listener wants reports of this kind."""
        return kind in self._listeners

    def subscribe(self, listener: Listener, *kinds: type[TelemetryEvent]) -> Callable[[], None]:
        """Call `listener` with each report of these kinds (default: all) from now on. Return a function that ends that.

        The listener is called on the event loop, in the middle of the work that it learns of, so it must return at once. Its first
        error is logged. Errors never reach the work.
        """
        for kind in kinds or ALL_KINDS:
            self._listeners[kind] = (*self._listeners.get(kind, ()), listener)
        self.active = True
        return lambda: self._unsubscribe(listener)

    def report(self, event: TelemetryEvent) -> None:
        """Pass a report to the listeners that want it."""
        for listener in self._listeners.get(type(event), ()):
            try:
                listener(event)
            except Exception:
                if id(listener) not in self._failed:
                    self._failed.add(id(listener))
                    logger.exception("telemetry listener %r failed; its further errors are not logged", listener)

    def _unsubscribe(self, listener: Listener) -> None:
        left = {kind: tuple(each for each in found if each is not listener) for kind, found in self._listeners.items()}
        self._listeners = {kind: found for kind, found in left.items() if found}
        self.active = bool(self._listeners)
        self._failed.discard(id(listener))
