"""What follows a job: the jobs that its end submits, and those that its removal does (rules 9)."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import apsw

from sidelane.model.job import REMOVED, FollowUp, JobSpec, State
from sidelane.stores.serialization import load_follow_ups
from sidelane.stores.sqlite.sql import one
from sidelane.stores.sqlite.statements import statements

_FOLLOW_UPS = statements(__file__)["follow_ups"]

END: Final = 1
REMOVAL: Final = 2


def flags_of(follow_ups: Iterable[FollowUp]) -> int:
    """Tell what these follow-ups wait for, for `jobs.follows`."""
    flags = 0
    for follow_up in follow_ups:
        flags |= REMOVAL if follow_up.on == REMOVED else END
    return flags


def after_end(connection: apsw.Connection, seq: int, job_id: str, end: int, state: State) -> list[JobSpec]:
    """Give what this end submits, of which there were `end`. Ids come from parent, end and place: each comes once."""
    return [
        replace(follow_up.spec, id=f"{job_id}.{end}.{place}", parent=job_id)
        for place, follow_up in _places(connection, seq)
        if state in follow_up.on
    ]


def after_removal(connection: apsw.Connection, seq: int, job_id: str) -> list[JobSpec]:
    """Give what a job's removal submits. Nothing is left then that could be a parent."""
    return [
        replace(follow_up.spec, id=f"{job_id}.removed.{place}", parent=None)
        for place, follow_up in _places(connection, seq)
        if follow_up.on == REMOVED
    ]


def _places(connection: apsw.Connection, seq: int) -> Iterable[tuple[int, FollowUp]]:
    (text,) = one(connection, _FOLLOW_UPS, seq)
    return enumerate(load_follow_ups(text))
