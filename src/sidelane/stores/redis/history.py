"""Reads of history, in pages, and their decoding."""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

from msgpack import unpackb

from sidelane.model.history import HistoryCell, HistoryQuery, Series, UserUsage, merge, merged
from sidelane.stores.redis.connection import Server
from sidelane.stores.serialization import load_user_usage

USER_AMOUNTS = 5
"""Amounts that are summed up for each user and hour, as `shared/history_cells.lua` lists them."""


async def read_cells(server: Server, query: HistoryQuery) -> list[HistoryCell]:
    """Return the cells of a range, by time and series."""
    fields = (query.step, repr(query.since), repr(query.until), query.queue, query.task)
    found: dict[Series, dict[int, dict[int, int]]] = {}
    position: Sequence[Any] = ("", "")
    while True:
        *position, cells_of_series = await server.run("history", *fields, *position)
        for name, *cells in cells_of_series:
            by_time = found.setdefault(_series(name), {})
            for at, packed in zip(cells[::2], cells[1::2], strict=True):
                if at in by_time:
                    merge(by_time[at], _counts(packed))
                else:
                    by_time[at] = _counts(packed)
        if position[0] == "":
            break
    cells = [HistoryCell(at, series, found[series][at]) for series in _sorted(found) for at in found[series]]
    return sorted(cells, key=attrgetter("at"))


async def read_totals(server: Server) -> list[HistoryCell]:
    """Return the counts of each series since the store was created."""
    totals = {_series(name): merged(map(_counts, cells)) for name, *cells in await server.run("totals")}
    return [HistoryCell(0.0, series, totals[series]) for series in _sorted(totals)]


async def read_top_users(server: Server, since: float, until: float) -> list[UserUsage]:
    """Return the users with the highest amounts of each hour, by hour and user."""
    amounts: dict[tuple[float, str], list[int]] = {}
    start = repr(since)
    while start != "-":
        start, *answers = await server.run("top_users", start, repr(until))
        for hour, index, users in answers:
            for user, amount in zip(users[::2], users[1::2], strict=True):
                amounts.setdefault((float(hour), user), [0] * USER_AMOUNTS)[index] = int(amount)
    return [load_user_usage(hour, user, *found) for (hour, user), found in sorted(amounts.items())]


def _series(packed: str) -> Series:
    return Series(*unpackb(_bytes(packed)))


def _sorted(found: Iterable[Series]) -> list[Series]:
    return sorted(found, key=attrgetter("queue", "task", "release"))


def _counts(packed: str) -> dict[int, int]:
    values = iter(unpackb(_bytes(packed)))
    return dict(zip(values, values, strict=True))


def _bytes(packed: str) -> bytes:
    """Return the packed value of a reply, which was decoded as text."""
    return packed.encode(errors="surrogateescape")
