"""Figures of this process for the metrics port of its group."""

from collections.abc import Callable, Iterable

from sidelane.app import Sidelane
from sidelane.exporters.process_metrics import process_exposition
from sidelane.processes.parent import Report
from sidelane.telemetry import PROCESS_FIGURES


def keep_figures(
    process: str, lanes: Iterable[Sidelane], report: Callable[[], Report], *, slots: int | None = None
) -> Callable[[], str]:
    """Count what these lanes do from now on, and return a function that returns the metrics of this process as a text."""
    for lane in lanes:
        PROCESS_FIGURES.listen(lane.telemetry)

    def text() -> str:
        found = process_exposition(process, PROCESS_FIGURES, running=report().running, slots=slots)
        return found.encode("")[0].decode()

    return text
