"""What a job's limits ask of the store, and when: at its submit, at each start, or as long as it is unfinished (rules 14).

In the database they are lines of text, one a limit. Jobs share each of theirs with others, but rarely all.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import apsw

from sidelane.model.limit import Limit
from sidelane.stores.serialization import dump_limit, load_limit
from sidelane.stores.sqlite.sql import scalar
from sidelane.stores.sqlite.statements import statements

_LIMITS = statements(__file__)["limits"]

HELD_WHILE_UNFINISHED: Final = 1
CHECKED_AT_START: Final = 2
REPLACES_OLDER: Final = 4

_SHARED = 8192  # limits that come again with other jobs
_WHILE_UNFINISHED = 2048  # jobs whose next step comes soon


class AppliedLimit(NamedTuple):
    """A limit with what is told of it again and again."""

    id: str
    limit: Limit
    asks: int  # flags


class AppliedLimits(NamedTuple):
    """The limits of one job by when they count. A limit that is there twice has one slot."""

    limits: tuple[Limit, ...] = ()
    text: str | None = None  # all of them, for the database
    submitted: Sequence[AppliedLimit] = ()  # those that are checked at its submit
    kept: Sequence[AppliedLimit] = ()  # those whose slots it has from its submit to its end
    kept_slots: Sequence[str] = ()  # and their ids
    started: Sequence[AppliedLimit] = ()  # those that are checked at each start
    running_slots: Sequence[str] = ()  # ids of those whose slots it has while it runs
    replacing: Sequence[AppliedLimit] = ()  # those for which it stops older jobs, and newer ones may stop it
    flags: int = 0  # which of these there are, for `jobs.limited`


NONE: Final = AppliedLimits()


def applied_limits(limits: tuple[Limit, ...]) -> AppliedLimits:
    """Sort the limits of a job."""
    return _sorted("\n".join(map(dump_limit, limits))) if limits else NONE


def load_applied_limits(text: str | None) -> AppliedLimits:
    """Sort the limits of a job as they are in the database."""
    return _sorted(text) if text else NONE


def applied_limits_of_job(connection: apsw.Connection, seq: int) -> AppliedLimits:
    """Look up and sort the limits of a job that is there."""
    return load_applied_limits(scalar(connection, _LIMITS, seq))


@lru_cache(_SHARED)
def _read(text: str) -> AppliedLimit:
    limit = load_limit(text)
    asks = CHECKED_AT_START if limit.at_start else HELD_WHILE_UNFINISHED if limit.window is None else 0
    if limit.on_limit == "replace":
        asks |= REPLACES_OLDER
    return AppliedLimit(limit.id, limit, asks)


@lru_cache(_WHILE_UNFINISHED)
def _sorted(text: str) -> AppliedLimits:
    bonds = [_read(line) for line in text.split("\n")]
    kept = [bond for bond in bonds if bond.asks & HELD_WHILE_UNFINISHED]
    kept_slots = _slots(kept)
    started = [bond for bond in bonds if bond.asks & CHECKED_AT_START and bond.id not in kept_slots]
    submitted = [bond for bond in bonds if not bond.asks & CHECKED_AT_START]
    replacing = [bond for bond in bonds if bond.asks & REPLACES_OLDER]
    flags = HELD_WHILE_UNFINISHED * bool(kept) + CHECKED_AT_START * bool(started) + REPLACES_OLDER * bool(replacing)
    limits = tuple([bond.limit for bond in bonds])
    return AppliedLimits(limits, text, submitted, kept, kept_slots, started, _slots(started), replacing, flags)


def _slots(bonds: Sequence[AppliedLimit]) -> Sequence[str]:
    return list(dict.fromkeys([bond.id for bond in bonds if bond.limit.window is None])) if bonds else ()
