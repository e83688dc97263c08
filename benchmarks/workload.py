"""A workload: what one contestant does in one round, what is shown of it, and the bars our figures are held against."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.contestants import CONTESTANTS, Arena, Contestant
from benchmarks.results import Figures, Measured

Results = Mapping[str, Measured]
"""By contestant's name."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A figure as it is shown: `{:,.0f}` of it times `scale`."""

    figure: str
    heading: str
    form: str = "{:,.0f}"
    scale: float = 1.0

    def of(self, measured: Measured) -> str:
        values = [value * self.scale for value in measured.of(self.figure)]
        if not values:
            return "-"
        middle = self.form.format((measured.middle(self.figure) or 0) * self.scale)
        low, high = self.form.format(min(values)), self.form.format(max(values))
        return middle if low == high else f"{middle} ({low} to {high})"


@dataclass(frozen=True)
class Bar:
    """What a figure of ours is held against."""

    what: str
    figure: str
    bar: str
    met: bool


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One thing to measure on everyone who can do it. The first column is the one that is drawn."""

    name: str
    title: str
    about: str
    measure: Callable[[Arena, bool], Figures]  # a contestant's arena, quick
    columns: Sequence[Column]
    bars: Callable[[Results], list[Bar]]
    rounds: int = 5
    least_wins: bool = False
    takes_part: Callable[[Contestant], bool] = lambda each: each.queues


def ratio_bar(what: str, results: Results, figure: str, factor: float, rivals: Callable[[Contestant], bool]) -> Bar:
    """Hold ours against so many times the fastest of some rivals, by the medians of this run."""
    ours = results["sidelane"].middle(figure) if "sidelane" in results else None
    speeds = {
        each.name: speed
        for each in CONTESTANTS
        if rivals(each) and not each.ours and each.name in results and (speed := results[each.name].middle(figure))
    }
    if ours is None or not speeds:
        return Bar(what, "not measured", f">= {factor:g} x", met=False)
    fastest = max(speeds, key=lambda name: speeds[name])
    ratio = ours / speeds[fastest]
    return Bar(what, f"{ratio:.1f} x {fastest}", f">= {factor:g} x", ratio >= factor)
