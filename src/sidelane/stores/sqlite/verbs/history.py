"""history, totals, top_users: the reads of history."""

from sidelane.model.history import HOUR, TOP_USERS, HistoryCell, HistoryQuery, Series, UserUsage, merge
from sidelane.stores.serialization import load_user_usage
from sidelane.stores.sqlite.history import TOTALS, Amount, load_all_counts, load_counts, start_of_cell
from sidelane.stores.sqlite.sql import Transaction, statements

SQL = statements(__file__)

_FAR = 2**40  # seconds after 1970, later than any time


def history(tx: Transaction, query: HistoryQuery) -> list[HistoryCell]:
    """Return the cells of a range, by time and series."""
    wanted = {
        series: name
        for series, name in _all_series(tx).items()
        if query.queue in (None, name.queue) and query.task in (None, name.task)
    }
    first, end = start_of_cell(query.since, query.step), query.until
    found = [row for row in tx.all(SQL.cells, query.step, first, end) if row[1] in wanted]
    counts = load_all_counts(text for _, _, text in found)
    cells = {(at, series): each for (at, series, _), each in zip(found, counts, strict=True)}
    for minute, series, text in tx.all(SQL.open_cells, first, start_of_cell(end, query.step) + query.step):
        at = start_of_cell(minute, query.step)
        if series in wanted and at < end:
            merge(cells.setdefault((at, series), {}), load_counts(text))
    order = {series: index for index, series in enumerate(wanted)}
    keys = sorted(cells, key=lambda key: (key[0], order[key[1]]))
    return [HistoryCell(at, wanted[series], cells[at, series]) for at, series in keys]


def totals(tx: Transaction) -> list[HistoryCell]:
    """Return what was counted since the store was created, by series."""
    cells = {series: load_counts(text) for _, series, text in tx.all(SQL.cells, TOTALS, 0, 1)}
    for _, series, text in tx.all(SQL.open_cells, -_FAR, _FAR):
        merge(cells.setdefault(series, {}), load_counts(text))
    return [HistoryCell(0.0, name, cells[series]) for series, name in _all_series(tx).items() if series in cells]


def top_users(tx: Transaction, since: float, until: float) -> list[UserUsage]:
    """Return the users with the highest amounts of each hour, by hour and user."""
    found = []
    for (at,) in sorted(tx.all(SQL.user_hours, start_of_cell(since, HOUR), until)):
        users = {user for amount in Amount for (user,) in tx.all(SQL.top_users, at, amount, TOP_USERS)}
        for user in sorted(users):
            amounts = (tx.scalar(SQL.user_total, at, amount, user) or 0 for amount in Amount)
            found.append(load_user_usage(at, user, *amounts))
    return found


def _all_series(tx: Transaction) -> dict[int, Series]:
    """Return all series by id, in the order of their names."""
    return {series: Series(*name) for series, *name in tx.all(SQL.all_series)}
