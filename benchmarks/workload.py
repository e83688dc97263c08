"""Workload: one measurement, its columns, and the targets for our figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.contestants import CONTESTANTS, Contestant, Trial
from benchmarks.measured import Figures, Measured

Results = Mapping[str, Measured]
"""Results by contestant."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table: a figure times `scale`, formatted by `form`."""

    figure: str
    heading: str
    form: str = "{:,.0f}"
    scale: float = 1.0

    def of(self, measured: Measured) -> str:
        values = [value * self.scale for value in measured.of(self.figure)]
        if not values:
            return "-"
        middle = self.form.format((measured.median(self.figure) or 0) * self.scale)
        low, high = self.form.format(min(values)), self.form.format(max(values))
        return middle if low == high else f"{middle} ({low} to {high})"


@dataclass(frozen=True)
class Bar:
    """A target for one of our figures, and whether it was met."""

    what: str
    figure: str
    bar: str
    met: bool


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One measurement of all contestants that support it. Contestants are ordered by the first column."""

    name: str
    title: str
    about: str
    measure: Callable[[Trial, bool], Figures]  # trial, quick
    columns: Sequence[Column]
    bars: Callable[[Results], list[Bar]]
    rounds: int = 5
    long: float = 45.0  # seconds of a round after which it is not repeated: long rounds vary little
    together: int = 1  # contestants measured at the same time, if they mostly wait
    lower_is_better: bool = False
    takes_part: Callable[[Contestant], bool] = lambda each: each.queues
    quick: Callable[[Contestant], bool] = lambda _: True  # whether it takes part in a short run


def ratio_bar(
    what: str,
    results: Results,
    figure: str,
    factor: float,
    rivals: Callable[[Contestant], bool],
    *,
    ours: str = "sidelane",
) -> Bar:
    """Return the target that ours is `factor` times as fast as the fastest rival, by the medians of this run."""
    speed_of_ours = results[ours].median(figure) if ours in results else None
    speeds = {
        each.name: speed
        for each in CONTESTANTS
        if rivals(each) and not each.ours and each.name in results and (speed := results[each.name].median(figure))
    }
    if speed_of_ours is None or not speeds:
        return Bar(what, "not measured", f">= {factor:g} x", met=False)
    fastest = max(speeds, key=lambda name: speeds[name])
    ratio = speed_of_ours / speeds[fastest]
    return Bar(what, f"{ratio:.1f} x {fastest}", f">= {factor:g} x", ratio >= factor)


def slow_bars(results: Results) -> list[Bar]:
    """Return the target that no Lua script blocks the server for over 20 ms."""
    if "sidelane" not in results or not (slowest := results["sidelane"].of("slowest")):
        return []
    return [Bar("the slowest script", f"{max(slowest):.1f} ms", "<= 20 ms", max(slowest) <= 20)]
