"""Follow-up jobs, which are submitted when a job finishes or is removed (rule 9)."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from sidelane.model.job import REMOVED, FollowUp, JobSpec, State
from sidelane.stores.serialization import load_follow_ups
from sidelane.stores.sqlite.sql import Transaction, statements

SQL = statements(__file__)

ON_FINISH: Final = 1
ON_REMOVAL: Final = 2


def flags_of(follow_ups: Iterable[FollowUp]) -> int:
    """Return which kinds of follow-up jobs these are, for `jobs.follow_up_flags`."""
    flags = 0
    for follow_up in follow_ups:
        flags |= ON_REMOVAL if follow_up.on == REMOVED else ON_FINISH
    return flags


def after_finish(tx: Transaction, seq: int, job_id: str, ends: int, state: State) -> list[JobSpec]:
    """Return the follow-up jobs of a job's `ends`-th finish.

    The ids of follow-up jobs are derived, so that each job is submitted once.
    """
    return [
        replace(follow_up.spec, id=f"{job_id}.{ends}.{position}", parent=job_id)
        for position, follow_up in _follow_ups(tx, seq)
        if state in follow_up.on
    ]


def after_removal(tx: Transaction, seq: int, job_id: str) -> list[JobSpec]:
    """Return the follow-up jobs of a job's removal. These jobs have no parent, because the parent no longer exists."""
    return [
        replace(follow_up.spec, id=f"{job_id}.removed.{position}", parent=None)
        for position, follow_up in _follow_ups(tx, seq)
        if follow_up.on == REMOVED
    ]


def _follow_ups(tx: Transaction, seq: int) -> Iterable[tuple[int, FollowUp]]:
    (text,) = tx.one(SQL.follow_ups, seq)
    return enumerate(load_follow_ups(text))
