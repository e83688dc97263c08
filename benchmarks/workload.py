"""A workload: what one contestant does in one round, what is shown of it, and the bars our figures are held against."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.contestants import CONTESTANTS, Arena, Contestant
from benchmarks.measured import Figures, Measured

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
    long: float = (
        45.0  # seconds of a round after which a contestant does not go again: what takes so long varies little
    )
    together: int = 1  # contestants at once, where they wait more than they work
    least_wins: bool = False
    takes_part: Callable[[Contestant], bool] = lambda each: each.queues
    quick: Callable[[Contestant], bool] = lambda _: True  # takes part in a short run too


def ratio_bar(
    what: str,
    results: Results,
    figure: str,
    factor: float,
    rivals: Callable[[Contestant], bool],
    *,
    ours: str = "sidelane",
) -> Bar:
    """Hold ours against so many times the fastest of some rivals, by the medians of this run."""
    speed_of_ours = results[ours].middle(figure) if ours in results else None
    speeds = {
        each.name: speed
        for each in CONTESTANTS
        if rivals(each) and not each.ours and each.name in results and (speed := results[each.name].middle(figure))
    }
    if speed_of_ours is None or not speeds:
        return Bar(what, "not measured", f">= {factor:g} x", met=False)
    fastest = max(speeds, key=lambda name: speeds[name])
    ratio = speed_of_ours / speeds[fastest]
    return Bar(what, f"{ratio:.1f} x {fastest}", f">= {factor:g} x", ratio >= factor)


def slow_bars(results: Results) -> list[Bar]:
    """Hold our scripts against 20 ms: the server did nothing else meanwhile."""
    if "sidelane" not in results or not (slowest := results["sidelane"].of("slowest")):
        return []
    return [Bar("the slowest script", f"{max(slowest):.1f} ms", "<= 20 ms", max(slowest) <= 20)]
