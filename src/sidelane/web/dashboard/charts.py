"""Charts over time: what `charts.js` draws, as short JSON, and the largest values for people who do not see them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sidelane.admin.figures import Chart, Period, ReleaseMark
from sidelane.model.durations import DAY, HOUR, MINUTE
from sidelane.model.errors import SidelaneError
from sidelane.model.history import Count
from sidelane.model.json_text import dump_json
from sidelane.model.sentence import sentence
from sidelane.web.dashboard.site import View

PERIODS: Final = {"1h": HOUR, "24h": DAY, "72h": 3 * DAY}
"""Seconds of the periods of pages, by their names in URLs."""

DEFAULT_PERIOD: Final = "24h"

MAX_MARKS: Final = 20
"""The newest releases that a chart marks."""


class UnknownPeriod(SidelaneError):
    """A page has no such period."""

    status = 400


def chosen_period(view: View) -> str:
    """Return the name of the period that the URL of a page chooses. Raises `UnknownPeriod`."""
    name = view.query.get("since", DEFAULT_PERIOD)
    if name not in PERIODS:
        text = "There is no period {name!r}; choose one of {known}."
        raise UnknownPeriod(sentence(text, name=name[:40], known=", ".join(PERIODS)))
    return name


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: its label, a value for each point or None, and how it looks."""

    label: str
    values: Sequence[float | None]
    look: Literal["area", "line", "bad"] = "line"

    @property
    def largest(self) -> float:
        return max((value for value in self.values if value is not None), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeChart:
    """A chart over a period. `id` is unique on its page, and `unit` follows each value, e.g. "s"."""

    id: str
    title: str
    period: Period
    lines: Sequence[Line]
    marks: Sequence[ReleaseMark] = ()
    unit: str = ""

    @property
    def newest_marks(self) -> Sequence[ReleaseMark]:
        return self.marks[-MAX_MARKS:]

    def json(self, labels: Sequence[str]) -> str:
        """Return what `charts.js` draws, with these labels of the lines."""
        lines = [
            {"label": label, "look": line.look, "values": [_short(value) for value in line.values]}
            for label, line in zip(labels, self.lines, strict=True)
        ]  # fmt: skip
        marks = [[mark.at, mark.release] for mark in self.newest_marks]
        return dump_json(
            {"since": self.period.since, "step": self.period.step, "lines": lines, "marks": marks, "unit": self.unit}
        )


def _short(value: float | None) -> float | None:
    """Return a value with at most two decimals, and a whole number without a point."""
    return value if value is None else int(value) if value == int(value) else round(value, 2)


def per_minute(chart: Chart, *counts: Count) -> list[float]:
    """Return for each point how often a minute it happened. The last point may not be over."""
    period = chart.period
    minutes = [max(1.0, min(period.step, period.until - at) / MINUTE) for at in period.times]
    return [count / length for count, length in zip(chart.values(*counts), minutes, strict=True)]
