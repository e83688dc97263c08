"""Cutting large calls, so that no transaction or script is long (rules 16)."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from sidelane.model.job import JobSpec
from sidelane.model.outcome import AttemptResult, Dispatched, EventAppend, Succeeded

MAX_ITEMS = 200
MAX_BYTES = 1024 * 1024

Item = TypeVar("Item")


class Cost(NamedTuple):
    """How much of a transaction something takes: rows it touches, and bytes it brings."""

    items: int
    size: int


def cost_of_spec(spec: JobSpec) -> Cost:
    return Cost(1, len(spec.arguments))


def cost_of_append(append: EventAppend) -> Cost:
    return Cost(len(append.entries), sum(len(entry.data) for entry in append.entries))


def cost_of_result(report: AttemptResult) -> Cost:
    items, size = 1 + len(report.entries), sum(len(entry.data) for entry in report.entries)
    if isinstance(report.outcome, Succeeded):
        size += len(report.outcome.result)
    elif isinstance(report.outcome, Dispatched):
        items += 1
        size += len(report.outcome.sending.arguments)
    return Cost(items, size)


def cost_of_one(_item: object) -> Cost:
    return Cost(1, 0)


def chunks(items: Sequence[Item], weigh: Callable[[Item], Cost]) -> Iterator[tuple[Sequence[Item], Cost]]:
    """Cut a call into pieces that fit a transaction; an item that alone does not is a piece of its own."""
    start = count = size = 0
    for place, item in enumerate(items):
        weight = weigh(item)
        if place > start and (count + weight.items > MAX_ITEMS or size + weight.size > MAX_BYTES):
            yield items[start:place], Cost(count, size)
            start, count, size = place, 0, 0
        count += weight.items
        size += weight.size
    if start < len(items):
        yield items[start:], Cost(count, size)
