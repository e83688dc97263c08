"""Statistics of measurements, and their output."""

import time
from collections.abc import Callable, Sequence
from statistics import median


def show(what: str, figure: str, bar: str = "") -> None:
    """Print a figure, and its target if it has one."""
    print(f"{what:<64} {figure:>34}   target: {bar}" if bar else f"{what:<64} {figure}", flush=True)


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def percentiles(seconds: Sequence[float]) -> str:
    """Return the median and the p99 of durations as text."""
    return f"p50 {1000 * median(seconds):.2f} ms, p99 {1000 * percentile(seconds, 0.99):.2f} ms"


def per_second(count: int, run: Callable[[], object]) -> float:
    """Return the rate per second of a run that does `count` things."""
    began = time.perf_counter()
    run()
    return count / (time.perf_counter() - began)
