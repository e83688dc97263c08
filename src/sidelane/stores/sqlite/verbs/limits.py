"""limits: what is taken of each limit, and who waits for it."""

import apsw

from sidelane.model.limit import Limit
from sidelane.model.worker import LimitStats
from sidelane.stores.sqlite import rates
from sidelane.stores.sqlite.bonds import load_applied_limits
from sidelane.stores.sqlite.sql import all_rows, scalar
from sidelane.stores.sqlite.statements import statements

_SQL = statements(__file__)
_SLOTS = _SQL["slots"]
_PARKED = _SQL["parked"]
_RATES = _SQL["rates"]
_NEWEST = _SQL["newest"]


def limits(connection: apsw.Connection, now: float) -> list[LimitStats]:
    """List the limits that have anything taken or waiting now, by id."""
    held = dict(all_rows(connection, _SLOTS))
    parked = dict(all_rows(connection, _PARKED))
    found = {}
    for bound, most, window, burst, kept in all_rows(connection, _RATES):
        limit = Limit(name="", key="", most=most, window=window, burst=burst)
        tat = rates.within(limit, kept, now)
        used = burst - rates.room(limit, tat, now)
        if used or bound in parked:
            after = rates.wait(limit, tat, now)
            found[bound] = LimitStats(id=bound, most=burst, held=used, waiting=parked.get(bound, 0), after=after)
    for bound in held.keys() | parked.keys() - found.keys():
        found[bound] = LimitStats(
            id=bound, most=_most(connection, bound), held=held.get(bound, 0), waiting=parked.get(bound, 0)
        )
    return [found[bound] for bound in sorted(found)]


def _most(connection: apsw.Connection, bound: str) -> int:
    """Give how many slots a limit has, as the newest of the jobs there says it."""
    declared = load_applied_limits(scalar(connection, _NEWEST, bound)).limits
    return next((limit.most for limit in declared if limit.id == bound and limit.window is None), 0)
