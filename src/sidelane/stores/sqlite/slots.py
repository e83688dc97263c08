"""Slots of limits: membership of a job in a set, never a counter (rules 14)."""

from collections.abc import Iterable

import apsw

from sidelane.stores.sqlite.bonds import AppliedLimits
from sidelane.stores.sqlite.sql import scalar
from sidelane.stores.sqlite.statements import statements

_SQL = statements(__file__)
_HELD = _SQL["held"]
_TAKE = _SQL["take"]
_GIVE_BACK = _SQL["give_back"]
_MAY_BE_REPLACED = _SQL["may_be_replaced"]
_NOT_REPLACED = _SQL["not_replaced"]


def held(connection: apsw.Connection, bound: str, most: int) -> int:
    """Count the slots of a limit that are taken, up to `most`."""
    return int(scalar(connection, _HELD, bound, most))


def acquire_held(connection: apsw.Connection, jobs: Iterable[tuple[int, AppliedLimits]]) -> None:
    """Give unfinished jobs the slots that they have until their end, and let newer ones find those that they may stop."""
    kept, replaceable = [], []
    for seq, bonds in jobs:
        kept += [(bound, seq, 0) for bound in bonds.kept_slots]
        replaceable += [(bond.id, seq) for bond in bonds.replacing]
    connection.executemany(_TAKE, kept)
    if replaceable:
        connection.executemany(_MAY_BE_REPLACED, replaceable)


def acquire_running(connection: apsw.Connection, jobs: Iterable[tuple[int, AppliedLimits]]) -> None:
    """Give jobs that start the slots that they have while they run."""
    connection.executemany(_TAKE, [(bound, seq, 1) for seq, bonds in jobs for bound in bonds.running_slots])


def release(connection: apsw.Connection, seq: int, bounds: Iterable[str]) -> None:
    """Take a job's slots of these limits away from it."""
    connection.executemany(_GIVE_BACK, [(bound, seq) for bound in bounds])


def clear_replaceable(connection: apsw.Connection, seq: int, bonds: AppliedLimits) -> None:
    """Let a job that has ended, or was asked to stop, be found by newer ones no more."""
    if bonds.replacing:
        connection.executemany(_NOT_REPLACED, [(bond.id, seq) for bond in bonds.replacing])
