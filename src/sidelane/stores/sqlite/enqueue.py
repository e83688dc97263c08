"""Enqueuing: new jobs, delayed jobs that are due, and jobs that return after an attempt."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

from sidelane.model.history import Count
from sidelane.model.job import JobSpec
from sidelane.model.json_text import escape_surrogates
from sidelane.stores.serialization import dump_follow_ups, dump_labels
from sidelane.stores.sqlite import blocked_jobs, fair_queue, history, limits
from sidelane.stores.sqlite.follow_ups import flags_of
from sidelane.stores.sqlite.history import Amount
from sidelane.stores.sqlite.limits import CHECKED_AT_START, AppliedLimits, applied_limits
from sidelane.stores.sqlite.rows import DELAYED, READY, RUNNING, Row
from sidelane.stores.sqlite.sql import Transaction, statements

SQL = statements(__file__)

_STATE, _SERIES = 10, -1  # indexes among the values of a new job


def insert(tx: Transaction, new: Sequence[tuple[JobSpec, AppliedLimits]]) -> None:
    """Insert jobs whose ids and unique keys are free."""
    if not new:
        return
    first = int(tx.scalar(SQL.max_seq)) + 1
    jobs: list[tuple[Any, ...]] = []
    specs = []
    heads: dict[fair_queue.UserQueue, int] = {}
    series_of: dict[tuple[str, str], int] = {}
    limited: list[tuple[int, AppliedLimits]] = []
    batches: list[tuple[str]] = []
    for seq, (spec, applied) in enumerate(new, first):
        name = (spec.queue, spec.task)
        series = series_of.get(name) or history.series_id(tx, *name)
        series_of[name] = series
        jobs.append(_job_values(seq, spec, applied, tx.now, series))
        specs.append(_spec_values(seq, spec, applied))
        tx.changes.jobs.add(spec.id)
        tx.changes.queues.add(spec.queue)
        if spec.user:
            history.count_user(tx, spec.queue, spec.user, Amount.SUBMITTED)
        if applied.flags:
            limited.append((seq, applied))
        if spec.batch is not None:
            batches.append((spec.batch,))
            tx.changes.batches.add(spec.batch)
        if jobs[-1][_STATE] == READY:
            heads.setdefault(fair_queue.UserQueue(spec.queue, 0, spec.priority, spec.user or ""), seq)
    tx.execute_many(SQL.insert_job, jobs)
    for series, count in Counter(map(itemgetter(_SERIES), jobs)).items():
        history.count(tx, series, Count.SUBMITTED, count)
    tx.execute_many(SQL.insert_spec, specs)
    tx.execute_many(SQL.insert_queue, [(queue,) for queue in {spec.queue for spec, _ in new}])
    for user_queue, seq in heads.items():
        fair_queue.push(tx, user_queue, seq)
    if limited:
        limits.acquire_unfinished(tx, limited)
    if batches:
        tx.execute_many(SQL.join_batch, batches)


def insert_if_absent(tx: Transaction, specs: Sequence[JobSpec]) -> None:
    """Insert jobs whose ids and unique keys are free, and skip all other jobs, because no caller waits for an answer.

    The inserted jobs join their batch if it still accepts jobs.
    """
    for spec in specs:
        if tx.first(SQL.exists, spec.id, spec.user or "", spec.unique):
            continue
        joins = spec.batch is None or tx.first(SQL.is_batch_open, spec.batch)
        insert(tx, [(spec if joins else replace(spec, batch=None), applied_limits(spec.limits))])


def return_to_queue(
    tx: Transaction, row: Row, transitions: str, *, delay: float = 0.0, finished_nonce: str | None = None
) -> None:
    """Queue a job for its next attempt, with the counts and log position of `row`. The job's lease ends.

    `transitions` are added to those of the job.
    """
    state, due, duration = (DELAYED, tx.now + delay, delay) if delay > 0 else (READY, tx.now, None)
    tx.execute(
        SQL.return_to_queue,
        row.seq, state, due, duration, row.failures, row.worker_losses, finished_nonce or row.finished_nonce, row.epoch,
        row.last, row.progress, row.expires_at, row.isolated, row.log_space,
        transitions,
    )  # fmt: skip
    if state == READY:
        fair_queue.push(tx, row.user_queue, row.seq)
    tx.changes.jobs.add(row.id)
    tx.changes.queues.add(row.queue)
    if row.state == RUNNING and row.limit_flags & CHECKED_AT_START:
        blocked_jobs.release_slots(tx, row, finished=False)


def promote_due(tx: Transaction, queue: str, limit: int) -> int:
    """Make up to `limit` delayed jobs of a queue ready that are due, and return the number of these jobs."""
    found = tx.all(SQL.due, queue, tx.now, limit)
    for seq, job_id, isolated, priority, user in found:
        tx.execute(SQL.promote, seq)
        fair_queue.push(tx, fair_queue.UserQueue(queue, isolated, priority, user), seq)
        tx.changes.jobs.add(job_id)
    if found:
        tx.changes.queues.add(queue)
    return len(found)


def expiry(expires_in: float | None, deadline: float | None, now: float) -> tuple[float | None, float | None]:
    """Return when a job that is queued now expires unless it has started, and its deadline."""
    deadline_at = None if deadline is None else now + deadline
    start_by = None if expires_in is None else now + expires_in
    return min((each for each in (start_by, deadline_at) if each is not None), default=None), deadline_at


def _job_values(seq: int, spec: JobSpec, applied: AppliedLimits, now: float, series: int) -> tuple[Any, ...]:
    state, due, delay = READY, now, None
    if spec.run_at is not None and spec.run_at > now + spec.delay:
        state, due = DELAYED, spec.run_at
    elif spec.delay > 0:
        state, due, delay = DELAYED, now + spec.delay, spec.delay
    expires_at, deadline_at = expiry(spec.expires, spec.deadline, now)
    return (
        seq, spec.id, spec.task, spec.version, spec.queue, spec.priority, spec.user or "", spec.key, spec.unique,
        spec.parent, state, due, delay, now, expires_at, deadline_at, spec.retention, flags_of(spec.follow_ups),
        applied.flags, spec.batch, int(spec.cascade), spec.max_log_size, series,
    )  # fmt: skip


def _spec_values(seq: int, spec: JobSpec, applied: AppliedLimits) -> tuple[object, ...]:
    return (
        seq, escape_surrogates(spec.arguments), dump_labels(spec.labels), spec.delay, spec.run_at, spec.expires,
        spec.deadline, spec.max_worker_losses, int(spec.isolable), spec.abandon_after, spec.trace,
        dump_follow_ups(spec.follow_ups), applied.text, spec.max_queued, dump_labels(spec.placeholders),
        spec.id_retention, spec.max_log_size,
    )  # fmt: skip
