"""Sparklines: their height, their width, and terminals that cannot print blocks."""

import io

import pytest
from rich.console import Console

from sidelane.cli.output.sparkline import sparkline, squeeze


def console(encoding: str = "utf-8") -> Console:
    return Console(file=io.TextIOWrapper(io.BytesIO(), encoding=encoding))


def test_the_largest_value_is_the_highest_block() -> None:
    assert sparkline(console(), [0, 1, 4, 8], 10) == "·▁▄█"
    assert sparkline(console(), [0, 1000, 1], 10) == "·█▁"


def test_a_terminal_without_blocks_gets_ascii() -> None:
    assert sparkline(console("ascii"), [0, 1, 4, 8], 10) == "_.=@"


def test_nothing_is_a_line_of_zeros() -> None:
    assert sparkline(console(), [0, 0, 0], 10) == "···"
    assert sparkline(console(), [], 10) == ""


@pytest.mark.parametrize("count", [*range(1, 40), 145, 181, 217, 1441])
def test_a_chart_is_never_wider_than_its_column_and_loses_nothing(count: int) -> None:
    values = list(range(count))
    joined = squeeze(values, 18, sum)
    assert len(joined) <= 18
    assert sum(joined) == sum(values)


def test_the_newest_values_are_complete() -> None:
    assert squeeze([1, 1, 1, 1, 1], 3, sum) == [1, 2, 2]
    assert squeeze([5, 1, 2, 3, 4], 3, max) == [5, 2, 4]
