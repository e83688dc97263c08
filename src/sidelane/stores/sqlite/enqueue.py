"""Jobs that come into the queue: new ones, and those that come back after an attempt."""

from collections.abc import Sequence
from dataclasses import replace

import apsw

from sidelane.model.codec import escape_surrogates
from sidelane.model.job import JobSpec
from sidelane.stores.serialization import dump_follow_ups, dump_labels
from sidelane.stores.sqlite import blocked_jobs, fair_queue, follow_up_jobs, slots
from sidelane.stores.sqlite.bonds import CHECKED_AT_START, AppliedLimits, applied_limits
from sidelane.stores.sqlite.records import READY, RUNNING, WAITING, Row
from sidelane.stores.sqlite.sql import first, scalar
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import ChangeSet

_SQL = statements(__file__)
_HIGHEST = _SQL["highest"]
_INSERT_JOB = _SQL["insert_job"]
_INSERT_SPEC = _SQL["insert_spec"]
_INSERT_QUEUE = _SQL["insert_queue"]
_PUT_BACK = _SQL["put_back"]
_TAKEN = _SQL["taken"]
_OPEN = _SQL["open"]
_JOIN = _SQL["join"]

_STATE = 10  # its place among the values of a new job


def insert(
    connection: apsw.Connection, new: Sequence[tuple[JobSpec, AppliedLimits]], now: float, touched: ChangeSet
) -> None:
    """Make new jobs of specs whose ids and unique keys are free."""
    if not new:
        return
    first = int(scalar(connection, _HIGHEST)) + 1
    jobs, details = [], []
    heads: dict[fair_queue.UserQueue, int] = {}
    joined = []
    bound = []
    for seq, (spec, bonds) in enumerate(new, first):
        jobs.append(_job_values(seq, spec, bonds, now))
        details.append(_spec_values(seq, spec, bonds))
        touched.jobs.add(spec.id)
        touched.queues.add(spec.queue)
        if bonds.flags:
            bound.append((seq, bonds))
        if spec.batch is not None:
            joined.append((spec.batch,))
            touched.batches.add(spec.batch)
        if jobs[-1][_STATE] == READY:
            heads.setdefault(fair_queue.UserQueue(spec.queue, 0, spec.priority, spec.user or ""), seq)
    connection.executemany(_INSERT_JOB, jobs)
    connection.executemany(_INSERT_SPEC, details)
    connection.executemany(_INSERT_QUEUE, [(queue,) for queue in {spec.queue for spec, _ in new}])
    for line, seq in heads.items():
        fair_queue.push(connection, line, seq)
    if bound:
        slots.acquire_held(connection, bound)
    if joined:
        connection.executemany(_JOIN, joined)


def insert_if_absent(connection: apsw.Connection, specs: Sequence[JobSpec], now: float, touched: ChangeSet) -> None:
    """Make new jobs of those specs whose ids and unique keys are free: they come from templates, and no one is there to ask.

    They join their batch if it still takes jobs.
    """
    for spec in specs:
        if first(connection, _TAKEN, spec.id, spec.user or "", spec.unique):
            continue
        joins = spec.batch is None or first(connection, _OPEN, spec.batch)
        insert(connection, [(spec if joins else replace(spec, batch=None), applied_limits(spec.limits))], now, touched)


def return_to_queue(
    connection: apsw.Connection,
    row: Row,
    now: float,
    touched: ChangeSet,
    *,
    delay: float = 0.0,
    settled: str | None = None,
) -> None:
    """Let a job wait for its next attempt, with the counts and the log its `row` tells; its lease is gone."""
    state, due, wait = (WAITING, now + delay, delay) if delay > 0 else (READY, now, None)
    connection.execute(
        _PUT_BACK,
        (
            row.seq, state, due, wait, row.failures, row.losses, settled or row.settled, row.epoch, row.last,
            row.progress, row.give_up, row.isolated,
        ),
    )  # fmt: skip
    if state == READY:
        fair_queue.push(connection, row.line, row.seq)
    touched.jobs.add(row.id)
    touched.queues.add(row.queue)
    if row.state == RUNNING and row.limited & CHECKED_AT_START:
        blocked_jobs.release_slots(connection, row, touched, ended=False)


def expiry(start_within: float | None, deadline: float | None, now: float) -> tuple[float | None, float | None]:
    """Tell when a job that is queued now is given up unless it has started, and when in any case."""
    deadline_at = None if deadline is None else now + deadline
    start_by = None if start_within is None else now + start_within
    return min((each for each in (start_by, deadline_at) if each is not None), default=None), deadline_at


def _job_values(seq: int, spec: JobSpec, bonds: AppliedLimits, now: float) -> tuple[object, ...]:
    state, due, wait = READY, now, None
    if spec.run_at is not None and spec.run_at > now + spec.delay:
        state, due = WAITING, spec.run_at
    elif spec.delay > 0:
        state, due, wait = WAITING, now + spec.delay, spec.delay
    give_up, deadline_at = expiry(spec.expires, spec.deadline, now)
    return (
        seq, spec.id, spec.task, spec.version, spec.queue, spec.priority, spec.user or "", spec.key, spec.unique,
        spec.parent, state, due, wait, now, give_up, deadline_at, spec.retention, follow_up_jobs.flags_of(spec.follow_ups),
        bonds.flags, spec.batch, int(spec.cascade),
    )  # fmt: skip


def _spec_values(seq: int, spec: JobSpec, bonds: AppliedLimits) -> tuple[object, ...]:
    return (
        seq, escape_surrogates(spec.arguments), dump_labels(spec.labels), spec.delay, spec.run_at, spec.expires,
        spec.deadline, spec.max_worker_losses, int(spec.isolable), spec.abandon_after, spec.trace, dump_follow_ups(spec.follow_ups),
        bonds.text, spec.max_queued, dump_labels(spec.placeholders), spec.id_retention,
    )  # fmt: skip
