"""Sparklines: charts of one line, for a cell of a table."""

import math
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console

BLOCKS, ASCII = "▁▂▃▄▅▆▇█", ".:-=+*#@"
"""The characters of values from the smallest to the largest."""

ZERO, ASCII_ZERO = "·", "_"


def sparkline(console: Console, values: Sequence[int], width: int, join: Callable[[Iterable[int]], int] = sum) -> str:
    """Return a chart of at most `width` characters, whose largest value is the highest block.

    Values that share a character are joined. A console that cannot print blocks gets ASCII.
    """
    blocks, zero = (ASCII, ASCII_ZERO) if console.options.ascii_only else (BLOCKS, ZERO)
    heights = squeeze(values, width, join)
    largest = max(heights, default=0)
    return "".join(blocks[(height * len(blocks) - 1) // largest] if height > 0 else zero for height in heights)


def squeeze(values: Sequence[int], width: int, join: Callable[[Iterable[int]], int]) -> list[int]:
    """Return at most `width` values, each of which joins as many of `values`. Only the first may join fewer."""
    each = max(1, math.ceil(len(values) / width))
    first = len(values) % each or each
    return [join(values[max(0, end - each) : end]) for end in range(first, len(values) + 1, each)]
