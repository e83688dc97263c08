"""Chunks of large calls, so that no transaction or script takes long (rule 16)."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from sidelane.model.job import JobSpec, texts_of
from sidelane.model.outcome import AttemptResult, Dispatched, EventAppend, Succeeded

MAX_ITEMS = 200
MAX_BYTES = 1024 * 1024

Item = TypeVar("Item")


class Cost(NamedTuple):
    """The cost of an item: the number of rows and bytes that it writes."""

    items: int
    size: int


def cost_of_spec(spec: JobSpec) -> Cost:
    if spec.labels or spec.placeholders or spec.limits or spec.follow_ups:
        return Cost(1, sum(map(len, texts_of(spec))))
    return Cost(1, len(spec.arguments))  # the other texts are short


def cost_of_append(append: EventAppend) -> Cost:
    return Cost(len(append.entries), sum(len(entry.data) for entry in append.entries))


def cost_of_result(report: AttemptResult) -> Cost:
    items, size = 1 + len(report.entries), sum(len(entry.data) for entry in report.entries)
    if isinstance(report.outcome, Succeeded):
        size += len(report.outcome.result)
    elif isinstance(report.outcome, Dispatched):
        items += 1
        size += sum(map(len, texts_of(report.outcome.sending)))
    return Cost(items, size)


def cost_of_one(_item: object) -> Cost:
    return Cost(1, 0)


def chunks(items: Sequence[Item], cost_of: Callable[[Item], Cost]) -> Iterator[tuple[Sequence[Item], Cost]]:
    """Split items into chunks that fit a transaction, each with its cost. An item that is too large is its own chunk."""
    start = count = size = 0
    for index, item in enumerate(items):
        cost = cost_of(item)
        if index > start and (count + cost.items > MAX_ITEMS or size + cost.size > MAX_BYTES):
            yield items[start:index], Cost(count, size)
            start, count, size = index, 0, 0
        count += cost.items
        size += cost.size
    if start < len(items):
        yield items[start:], Cost(count, size)
