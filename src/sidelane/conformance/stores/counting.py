"""Helpers for tests of history: read what a store has counted."""

from sidelane.model.history import BUCKETS, HOUR, Count, Counts, HistoryCell, HistoryQuery, Series, merged
from sidelane.stores.clock import NEW_YEAR_2027
from sidelane.stores.contract import Store


async def all_counts(store: Store) -> dict[int, int]:
    """Return the totals of all series together."""
    return merged([each.counts for each in await store.totals()])


async def tally(store: Store) -> dict[str, int]:
    """Return the totals of all series together by name, without durations, usage and maxima."""
    return _named(await all_counts(store))


async def measured(store: Store, *fields: Count) -> list[int]:
    """Return the totals of all series together of these fields."""
    counts = await all_counts(store)
    return [counts.get(field, 0) for field in fields]


async def by_series(store: Store) -> dict[Series, dict[str, int]]:
    """Return the totals of each series by name, without durations, usage and maxima."""
    cells = await store.totals()
    assert len({cell.series for cell in cells}) == len(cells)
    return {cell.series: counts for cell in cells if (counts := _named(cell.counts))}


async def buckets(store: Store, first: Count) -> dict[int, int]:
    """Return the counts of a histogram by the index of their bucket."""
    counts = await all_counts(store)
    found = {index: counts.get(first + index, 0) for index in range(len(BUCKETS) + 1)}
    return {index: count for index, count in found.items() if count}


async def cells(store: Store, step: int, *, queue: str | None = None, task: str | None = None) -> list[HistoryCell]:
    """Return all cells of a step, after a check of their order and that none is twice or empty."""
    query = HistoryQuery(since=0.0, until=NEW_YEAR_2027 + 100_000 * HOUR, step=step, queue=queue, task=task)
    found = await store.history(query)
    assert [cell.at for cell in found] == sorted(cell.at for cell in found)
    assert len({(cell.at, cell.series) for cell in found}) == len(found)
    assert all(cell.counts and all(cell.counts.values()) for cell in found)
    return found


async def timeline_of(store: Store, step: int, field: Count) -> dict[float, int]:
    """Return the sums of one field over all series, by seconds since the start of the manual clock."""
    sums: dict[float, int] = {}
    for cell in await cells(store, step):
        if field in cell.counts:
            sums[cell.at - NEW_YEAR_2027] = sums.get(cell.at - NEW_YEAR_2027, 0) + cell.counts[field]
    return sums


def _named(counts: Counts) -> dict[str, int]:
    return {Count(field).name: count for field, count in sorted(counts.items()) if count and field < Count.WAIT_MS}
