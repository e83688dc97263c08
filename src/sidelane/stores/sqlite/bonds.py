"""What a job's limits ask of the store, and when: at its submit, at each start, or as long as it is unfinished (rules 14)."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

import apsw

from sidelane.model.limit import Limit
from sidelane.stores.sqlite.rows import only_value
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.texts import limits_of

_LIMITS = statements(__file__)["limits"]

KEPT: Final = 1
STARTED: Final = 2
REPLACEABLE: Final = 4

_REMEMBERED = 4096  # limits are few, or come again with each step of the same job


class Bonds(NamedTuple):
    """The limits of one job by when they count. A limit that is there twice has one slot."""

    kept: tuple[Limit, ...] = ()  # those whose slots it has from its submit to its end
    started: tuple[Limit, ...] = ()  # those that are checked at each start
    running: tuple[str, ...] = ()  # ids of those whose slots it has while it runs
    replaceable: tuple[str, ...] = ()  # ids of those for which a newer job may stop it
    flags: int = 0  # which of these there are, for `jobs.limited`

    @property
    def kept_slots(self) -> tuple[str, ...]:
        return _ids(self.kept)


@lru_cache(_REMEMBERED)
def bonds_of(limits: tuple[Limit, ...]) -> Bonds:
    """Sort the limits of a job."""
    kept = tuple(limit for limit in limits if limit.window is None and not limit.at_start)
    ids = _ids(kept)
    started = tuple(limit for limit in limits if limit.at_start and limit.id not in ids)
    running = _ids(limit for limit in started if limit.window is None)
    replaceable = _ids(limit for limit in limits if limit.when_full == "replace")
    flags = KEPT * bool(kept) + STARTED * bool(started) + REPLACEABLE * bool(replaceable)
    return Bonds(kept, started, running, replaceable, flags)


def bonds_of_job(connection: apsw.Connection, seq: int) -> Bonds:
    """Give the bonds of a job that is there."""
    return _bonds_of_text(only_value(connection, _LIMITS, seq))


@lru_cache(_REMEMBERED)
def _bonds_of_text(text: str | None) -> Bonds:
    return bonds_of(limits_of(text))


def _ids(limits: Iterable[Limit]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(limit.id for limit in limits))
