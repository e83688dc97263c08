"""What a job's limits ask of the store, and when: at its submit, at each start, or as long as it is unfinished (rules 14)."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

import apsw

from sidelane.model.limit import Limit
from sidelane.stores.sqlite.rows import only_value
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.texts import limits_of, limits_text

_LIMITS = statements(__file__)["limits"]

KEPT: Final = 1
STARTED: Final = 2
REPLACEABLE: Final = 4

_REMEMBERED = 2048  # the limits of a job come again with each of its steps, and with other jobs


class Bonds(NamedTuple):
    """The limits of one job by when they count. A limit that is there twice has one slot."""

    limits: tuple[Limit, ...] = ()
    text: str | None = None  # all of them, for the database
    submitted: tuple[Limit, ...] = ()  # those that are checked at its submit
    kept: tuple[Limit, ...] = ()  # those whose slots it has from its submit to its end
    kept_slots: tuple[str, ...] = ()  # and their ids
    started: tuple[Limit, ...] = ()  # those that are checked at each start
    running_slots: tuple[str, ...] = ()  # ids of those whose slots it has while it runs
    replacing: tuple[Limit, ...] = ()  # those for which it stops older jobs, and newer ones may stop it
    flags: int = 0  # which of these there are, for `jobs.limited`


NONE: Final = Bonds()


def bonds_of(limits: tuple[Limit, ...]) -> Bonds:
    """Sort the limits of a job."""
    return _sorted(limits) if limits else NONE


def bonds_of_text(text: str | None) -> Bonds:
    """Sort the limits of a job as they are in the database."""
    return _read(text) if text else NONE


def bonds_of_job(connection: apsw.Connection, seq: int) -> Bonds:
    """Look up and sort the limits of a job that is there."""
    return bonds_of_text(only_value(connection, _LIMITS, seq))


@lru_cache(_REMEMBERED)
def _sorted(limits: tuple[Limit, ...]) -> Bonds:
    submitted = tuple(limit for limit in limits if not limit.at_start)
    kept = tuple(limit for limit in submitted if limit.window is None)
    kept_slots = _ids(kept)
    started = tuple(limit for limit in limits if limit.at_start and limit.id not in kept_slots)
    running_slots = _ids(limit for limit in started if limit.window is None)
    replacing = tuple(limit for limit in limits if limit.when_full == "replace")
    flags = KEPT * bool(kept) + STARTED * bool(started) + REPLACEABLE * bool(replacing)
    return Bonds(
        limits, limits_text(limits), submitted, kept, kept_slots, started, running_slots, replacing, flags
    )  # fmt: skip


@lru_cache(_REMEMBERED)
def _read(text: str) -> Bonds:
    return _sorted(limits_of(text))


def _ids(limits: Iterable[Limit]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(limit.id for limit in limits))
