"""Reads of history, in pages, and their decoding."""

from typing import Any

from msgpack import unpackb

from sidelane.model.history import HistoryCell, HistoryQuery, Series, UserUsage, merge, merged
from sidelane.stores.redis.connection import Server


async def read_cells(server: Server, query: HistoryQuery) -> list[HistoryCell]:
    """Return the cells of a range, by time and series."""
    counts: dict[tuple[float, Series], dict[int, int]] = {}
    series: Any = ""
    chunk: Any = ""
    while True:
        position = (series, chunk)
        fields = (query.step, repr(query.since), repr(query.until), query.queue, query.task)
        series, chunk, *answers = await server.run("history", *fields, *position)
        for name, *cells in answers:
            of_series = _series(name)
            for at, packed in zip(cells[::2], cells[1::2], strict=True):
                merge(counts.setdefault((float(at), of_series), {}), _counts(packed))
        if series == "":
            break
    return sorted((HistoryCell(at, of_series, cell) for (at, of_series), cell in counts.items()), key=_sort_key)


async def read_totals(server: Server) -> list[HistoryCell]:
    """Return the counts of each series since the store was created."""
    answers = await server.run("totals")
    return sorted(
        (HistoryCell(0.0, _series(name), merged(map(_counts, cells))) for name, *cells in answers), key=_sort_key
    )


async def read_top_users(server: Server, since: float, until: float) -> list[UserUsage]:
    """Return the users with the highest amounts of each hour, by hour and user."""
    amounts: dict[tuple[float, str], list[int]] = {}
    start = repr(since)
    while start != "-":
        start, *answers = await server.run("top_users", start, repr(until))
        for hour, index, users in answers:
            for user, amount in zip(users[::2], users[1::2], strict=True):
                amounts.setdefault((float(hour), user), [0, 0, 0])[index] = int(amount)
    return [
        UserUsage(at=hour, user=user, submitted=submitted, refused=refused, run_time=run_time / 1000)
        for (hour, user), (submitted, refused, run_time) in sorted(amounts.items())
    ]


def _series(packed: str) -> Series:
    return Series(*unpackb(_bytes(packed)))


def _counts(packed: str) -> dict[int, int]:
    flat = unpackb(_bytes(packed))
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _bytes(packed: str) -> bytes:
    """Return the packed value of a reply, which was decoded as text."""
    return packed.encode(errors="surrogateescape")


def _sort_key(cell: HistoryCell) -> tuple[float, str, str, str]:
    """Return what cells are sorted by."""
    return cell.at, cell.series.queue, cell.series.task, cell.series.release
