"""What a job's limits ask of the store, and when: at its submit, at each start, or as long as it is unfinished (rules 14).

In the database they are lines of text, one a limit. Jobs share limits, but rarely all of theirs: each is read and written once.
"""

from collections.abc import Iterable, Sequence
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

_REMEMBERED = 8192  # limits that come again with each step of a job, and with other jobs


class Bond(NamedTuple):
    """A limit with what is told of it again and again."""

    id: str
    limit: Limit
    text: str
    asks: int  # flags


class Bonds:
    """The limits of one job by when they count. A limit that is there twice has one slot."""

    __slots__ = ("_all",)

    def __init__(self, bonds: Sequence[Bond] = ()) -> None:
        self._all = bonds

    @property
    def limits(self) -> tuple[Limit, ...]:
        return tuple([bond.limit for bond in self._all])

    @property
    def text(self) -> str | None:
        """All of them, for the database."""
        return "\n".join([bond.text for bond in self._all]) if self._all else None

    @property
    def submitted(self) -> list[Bond]:
        """Those that are checked at its submit."""
        return [bond for bond in self._all if not bond.asks & STARTED]

    @property
    def kept(self) -> list[Bond]:
        """Those whose slots it has from its submit to its end."""
        return [bond for bond in self._all if bond.asks & KEPT]

    @property
    def started(self) -> list[Bond]:
        """Those that are checked at each start."""
        kept = {bond.id for bond in self._all if bond.asks & KEPT}
        return [bond for bond in self._all if bond.asks & STARTED and bond.id not in kept]

    @property
    def replacing(self) -> list[Bond]:
        """Those for which it stops older jobs, and newer ones may stop it."""
        return [bond for bond in self._all if bond.asks & REPLACEABLE]

    @property
    def flags(self) -> int:
        """Which of these there are, for `jobs.limited`."""
        asks = 0
        for bond in self._all:
            asks |= bond.asks
        return asks


NONE: Final = Bonds()


def slots_of(bonds: Iterable[Bond]) -> list[str]:
    """Give the ids of those limits that have slots."""
    return list({bond.id: None for bond in bonds if bond.limit.window is None})


def bonds_of(limits: tuple[Limit, ...]) -> Bonds:
    """Sort the limits of a job."""
    return Bonds([_bond(limit) for limit in limits]) if limits else NONE


def bonds_of_text(text: str | None) -> Bonds:
    """Sort the limits of a job as they are in the database."""
    return Bonds([_read(line) for line in text.split("\n")]) if text else NONE


def bonds_of_job(connection: apsw.Connection, seq: int) -> Bonds:
    """Look up and sort the limits of a job that is there."""
    return bonds_of_text(only_value(connection, _LIMITS, seq))


@lru_cache(_REMEMBERED)
def _bond(limit: Limit) -> Bond:
    asks = STARTED if limit.at_start else KEPT if limit.window is None else 0
    if limit.when_full == "replace":
        asks |= REPLACEABLE
    return Bond(limit.id, limit, limit_text(limit), asks)


@lru_cache(_REMEMBERED)
def _read(text: str) -> Bond:
    return _bond(limit_of(text))
