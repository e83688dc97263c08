"""Cutting large calls, so that no transaction or script is long (rules 16)."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from sidelane.model.job import JobSpec
from sidelane.model.outcome import Append, HandedOver, Report, Succeeded

MOST_ITEMS = 200
MOST_BYTES = 1024 * 1024

Item = TypeVar("Item")


class Weight(NamedTuple):
    """How much of a transaction something takes: rows it touches, and bytes it brings."""

    items: int
    size: int


def weight_of_spec(spec: JobSpec) -> Weight:
    return Weight(1, len(spec.arguments))


def weight_of_append(append: Append) -> Weight:
    return Weight(len(append.entries), sum(len(entry.data) for entry in append.entries))


def weight_of_report(report: Report) -> Weight:
    items, size = 1 + len(report.entries), sum(len(entry.data) for entry in report.entries)
    if isinstance(report.outcome, Succeeded):
        size += len(report.outcome.result)
    elif isinstance(report.outcome, HandedOver):
        items += 1
        size += len(report.outcome.sending.arguments)
    return Weight(items, size)


def weight_of_one(_item: object) -> Weight:
    return Weight(1, 0)


def pieces(items: Sequence[Item], weigh: Callable[[Item], Weight]) -> Iterator[tuple[Sequence[Item], Weight]]:
    """Cut a call into pieces that fit a transaction; an item that alone does not is a piece of its own."""
    start = count = size = 0
    for place, item in enumerate(items):
        weight = weigh(item)
        if place > start and (count + weight.items > MOST_ITEMS or size + weight.size > MOST_BYTES):
            yield items[start:place], Weight(count, size)
            start, count, size = place, 0, 0
        count += weight.items
        size += weight.size
    if start < len(items):
        yield items[start:], Weight(count, size)
