"""How what was measured is made into figures, and shown."""

import time
from collections.abc import Callable, Sequence
from statistics import median


def show(what: str, figure: str, bar: str = "") -> None:
    """Print a figure, beside its bar where it has one."""
    print(f"{what:<64} {figure:>34}   bar: {bar}" if bar else f"{what:<64} {figure}", flush=True)


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def percentiles(seconds: Sequence[float]) -> str:
    """Write the median and the p99 of some durations."""
    return f"p50 {1000 * median(seconds):.2f} ms, p99 {1000 * percentile(seconds, 0.99):.2f} ms"


def per_second(count: int, run: Callable[[], object]) -> float:
    """Tell how many in a second, where a run does so many."""
    began = time.perf_counter()
    run()
    return count / (time.perf_counter() - began)
