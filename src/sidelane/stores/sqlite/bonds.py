"""What a job's limits ask of the store, and when: at its submit, at each start, or as long as it is unfinished (rules 14).

In the database they are lines of text, one a limit. Jobs share each of theirs with others, but rarely all.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import apsw

from sidelane.model.limit import Limit
from sidelane.stores.sqlite.rows import only_value
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.texts import limit_of, limit_text

_LIMITS = statements(__file__)["limits"]

KEPT: Final = 1
STARTED: Final = 2
REPLACEABLE: Final = 4

_REMEMBERED = 4096  # limits that jobs share, and jobs whose next step comes soon


class Bond(NamedTuple):
    """A limit with what is told of it again and again."""

    id: str
    limit: Limit
    asks: int  # flags


class Bonds(NamedTuple):
    """The limits of one job by when they count. A limit that is there twice has one slot."""

    limits: tuple[Limit, ...] = ()
    text: str | None = None  # all of them, for the database
    submitted: Sequence[Bond] = ()  # those that are checked at its submit
    kept: Sequence[Bond] = ()  # those whose slots it has from its submit to its end
    kept_slots: Sequence[str] = ()  # and their ids
    started: Sequence[Bond] = ()  # those that are checked at each start
    running_slots: Sequence[str] = ()  # ids of those whose slots it has while it runs
    replacing: Sequence[Bond] = ()  # those for which it stops older jobs, and newer ones may stop it
    flags: int = 0  # which of these there are, for `jobs.limited`


NONE: Final = Bonds()


def bonds_of(limits: tuple[Limit, ...]) -> Bonds:
    """Sort the limits of a job."""
    return _sorted("\n".join(map(limit_text, limits))) if limits else NONE


def bonds_of_text(text: str | None) -> Bonds:
    """Sort the limits of a job as they are in the database."""
    return _sorted(text) if text else NONE


def bonds_of_job(connection: apsw.Connection, seq: int) -> Bonds:
    """Look up and sort the limits of a job that is there."""
    return bonds_of_text(only_value(connection, _LIMITS, seq))


@lru_cache(_REMEMBERED)
def _read(text: str) -> Bond:
    limit = limit_of(text)
    asks = STARTED if limit.at_start else KEPT if limit.window is None else 0
    if limit.when_full == "replace":
        asks |= REPLACEABLE
    return Bond(limit.id, limit, asks)


@lru_cache(_REMEMBERED)
def _sorted(text: str) -> Bonds:
    bonds = [_read(line) for line in text.split("\n")]
    submitted, kept, started, replacing, flags = [], [], [], [], 0
    for bond in bonds:
        (started if bond.asks & STARTED else submitted).append(bond)
        if bond.asks & KEPT:
            kept.append(bond)
        if bond.asks & REPLACEABLE:
            replacing.append(bond)
        flags |= bond.asks
    kept_slots = _slots(kept)
    if kept_slots:
        started = [bond for bond in started if bond.id not in kept_slots]
    limits = tuple([bond.limit for bond in bonds])
    return Bonds(limits, text, submitted, kept, kept_slots, started, _slots(started), replacing, flags)


def _slots(bonds: Sequence[Bond]) -> Sequence[str]:
    return list(dict.fromkeys([bond.id for bond in bonds if bond.limit.window is None])) if bonds else ()
