"""Telemetry: the one port to which the parts of a process report what happened."""

import logging
from collections.abc import Callable

from sidelane.telemetry.events import TelemetryEvent

Listener = Callable[[TelemetryEvent], None]

logger = logging.getLogger(__name__)


class Telemetry:
    """Passes reports to listeners. Without listeners, nothing is built and nothing is passed.

    Whoever reports asks for `listeners` first: `if telemetry.listeners: telemetry.report(JobSubmitted(…))`.
    """

    def __init__(self) -> None:
        self.listeners: tuple[Listener, ...] = ()
        self._failed: set[Listener] = set()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each report from now on, and return a function that ends that.

        The listener is called on the event loop, in the middle of the work that it learns of, so it must return at once. Its first
        error is logged. Errors never reach the work.
        """
        self.listeners = (*self.listeners, listener)

        def unsubscribe() -> None:
            self.listeners = tuple(each for each in self.listeners if each is not listener)
            self._failed.discard(listener)

        return unsubscribe

    def report(self, event: TelemetryEvent) -> None:
        """Pass a report to every listener."""
        for listener in self.listeners:
            try:
                listener(event)
            except Exception:
                if listener not in self._failed:
                    self._failed.add(listener)
                    logger.exception("telemetry listener %r failed; its further errors are not logged", listener)
