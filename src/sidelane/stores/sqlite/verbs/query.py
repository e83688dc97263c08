"""get, list_jobs, search_jobs, waiting_jobs, queue_position, stats, limits: the reads of clients and operators, without logs."""

from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter

from sidelane.model import gcra
from sidelane.model.job import JobPage, JobRecord, Query, State, Tombstone
from sidelane.model.worker import LimitStats, QueuePosition, QueueStats
from sidelane.stores.sqlite import rows
from sidelane.stores.sqlite.limit_overrides import LimitsInForce
from sidelane.stores.sqlite.limits import declared_rate, load_applied_limits
from sidelane.stores.sqlite.sql import Transaction, statements
from sidelane.stores.sqlite.throughput import expected_rate, rate_of

SQL = statements(__file__)

_LABEL = (
    "EXISTS (SELECT 1 FROM json_each(s.labels) l WHERE l.key = ? AND l.value = ?)"  # a JSON path would need quoting
)
_TEXT = """(
    instr(lower(concat_ws(char(10), j.id, j.task, j.user, j.key, s.labels, s.arguments, r.problem)), lower(?)) > 0
    OR EXISTS (SELECT 1 FROM failures f WHERE f.job = j.seq AND instr(lower(f.error), lower(?)) > 0
                  AND f.position = (SELECT max(position) FROM failures WHERE job = j.seq))
)"""
_COUNT_SCANNED = "SELECT count(*), min(seq) FROM scanned WHERE seq >= ?"
_WAITING = rows.SQL.record.replace("FROM jobs j", "FROM jobs j INDEXED BY jobs_blocked") + (
    " WHERE j.state = -1 AND j.blocked_by = ?"
)
_MAX_POSITION = 1000
_MAX_HEADS = 200  # users whose first jobs are read to find how long they have waited
_MIN_RATE = 1 / 3600  # jobs per second; for a slower queue the wait is not estimated


def get(tx: Transaction, ids: Sequence[str]) -> list[JobRecord | Tombstone | None]:
    """Return the record of each job, or the tombstone of a removed one."""
    return [rows.record_by_id(tx, job_id) or _tombstone(tx, job_id) for job_id in ids]


def _tombstone(tx: Transaction, job_id: str) -> Tombstone | None:
    found = tx.first(SQL.tombstone, job_id)
    return Tombstone(job_id, found[0] or None) if found else None


def list_jobs(tx: Transaction, query: Query) -> list[JobRecord]:
    """Return the newest jobs that meet every condition, without their history."""
    conditions, values = _conditions(query)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    sql = f"{_along_index(rows.SQL.record, query)}{where} ORDER BY j.seq DESC LIMIT ?"
    return [rows.record(found) for found in tx.all(sql, *values, query.limit)]


def search_jobs(tx: Transaction, query: Query, scan: int) -> JobPage:
    """Return the newest jobs that meet every condition, among the newest `scan` of the index that the query uses."""
    conditions, values = _conditions(_index_of(query))
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    sequences = f"{_along_index(SQL.sequences, query)}{where} ORDER BY j.seq DESC LIMIT ?"
    counted = f"WITH scanned AS ({sequences}) {_COUNT_SCANNED}"
    count, oldest = tx.one(counted, *values, scan, 0)
    if not count:
        return JobPage()
    records = list_jobs(tx, replace(query, after=oldest - 1))
    if len(records) < query.limit:
        return JobPage(records, count, oldest if count == scan else None)
    last = records[-1].sequence
    return JobPage(records, tx.scalar(counted, *values, scan, last), last)


def _along_index(statement: str, query: Query) -> str:
    """Return a statement that reads only running jobs if the query is about these."""
    if query.states == frozenset({State.RUNNING}):
        return statement.replace("FROM jobs j", "FROM jobs j INDEXED BY jobs_running")
    return statement


def _index_of(query: Query) -> Query:
    """Return the conditions of the index that is likely to hold the fewest of the jobs that a query is about."""
    bounds = Query(before=query.before, after=query.after)
    if query.states == frozenset({State.RUNNING}):
        return replace(bounds, states=query.states)
    if query.user is not None and query.key is not None:
        return replace(bounds, user=query.user, key=query.key)
    for name in ("key", "parent", "batch", "user"):
        if (value := getattr(query, name)) is not None:
            return replace(bounds, **{name: value})
    return replace(bounds, states=query.states) if query.states == frozenset({State.FAILED}) else bounds


def _conditions(query: Query) -> tuple[list[str], list[object]]:
    conditions: list[str] = []
    values: list[object] = []
    if query.states is not None:
        codes = [code for code, state in rows.STATES.items() if state in query.states]
        # a literal, so that SQLite can use the partial index of failed jobs
        conditions.append(f"j.state = {codes[0]}" if len(codes) == 1 else f"j.state IN ({', '.join(map(str, codes))})")
    for column in ("task", "queue", "user", "key", "parent", "batch"):
        value = getattr(query, column)
        if value is not None:
            conditions.append(f"j.{column} = ?")
            values.append(value)
    if query.user is not None:
        conditions.append("j.user <> ''")  # lets SQLite use the partial index of users
    if query.before is not None:
        conditions.append("j.seq < ?")
        values.append(query.before)
    if query.after is not None:
        conditions.append("j.seq > ?")
        values.append(query.after)
    if query.release is not None:
        conditions.append("j.release = ?")
        values.append(query.release)
    for name, value in query.labels.items():
        conditions.append(_LABEL)
        values += [name, value]
    if query.text is not None:
        conditions.append(_TEXT)
        values += [query.text] * 2
    return conditions, values


def waiting_jobs(tx: Transaction, limit_id: str, after: tuple[int, int] | None, limit: int) -> list[JobRecord]:
    """Return a page of the jobs that wait for a limit, by priority, then age."""
    if after is None:
        found = tx.all(f"{_WAITING} ORDER BY j.priority DESC, j.seq LIMIT ?", limit_id, limit)
    else:
        priority, seq = after
        found = tx.all(
            f"{_WAITING} AND j.priority = ? AND j.seq > ? ORDER BY j.seq LIMIT ?", limit_id, priority, seq, limit
        )
        lower = f"{_WAITING} AND j.priority < ? ORDER BY j.priority DESC, j.seq LIMIT ?"
        found += tx.all(lower, limit_id, priority, limit - len(found))
    return [rows.record(each) for each in found]


def queue_position(tx: Transaction, job_id: str) -> QueuePosition | None:
    """Count the ready jobs before a ready job by priority, then age, up to 1,000. Return None for a job that is not ready."""
    found = tx.first(SQL.ready_job, job_id)
    if found is None:
        return None
    *key, seq = found
    higher = int(tx.scalar(SQL.count_higher, *key, _MAX_POSITION))
    before = higher + int(tx.scalar(SQL.count_older, *key, seq, _MAX_POSITION - higher))
    rate = expected_rate(tx, key[0])
    return QueuePosition(before, before / rate if rate >= _MIN_RATE else None)


def stats(tx: Transaction) -> list[QueueStats]:
    """Count the unfinished jobs of every queue that ever had a job."""
    found = []
    running_by_user = {(queue, user): count for queue, user, count in tx.all(SQL.running_by_user)}
    for each in tx.all(SQL.stats):
        name, paused, ready, delayed, blocked, of_paused, running, since, starts, counted_at, isolated, resumed = each
        first_jobs = tx.all(SQL.first_in_line, name, _MAX_HEADS) if ready else []
        waits = [
            tx.now - max(resumed, head_since if user else due)
            for user, head_since, due, _, _ in first_jobs
            if 2 * running_by_user.get((name, user), 0) <= running  # else it waits for its user's own jobs
        ]
        found.append(
            QueueStats(
                name=name,
                paused=bool(paused),
                ready=ready,
                delayed=delayed,
                waiting_for_limit=blocked,
                waiting_for_batch=of_paused,
                running=running,
                oldest=None if since is None else max(0.0, tx.now - since),
                rate=rate_of(starts, counted_at, tx.now),
                head_wait=None if paused or not waits else max(0.0, *waits),
                isolated=isolated,
                waiting_tasks={task: version for *_, task, version in sorted(first_jobs, key=itemgetter(-1))},
            )
        )
    return found


def limits(tx: Transaction) -> list[LimitStats]:
    """Return the limits that are in use or have jobs waiting for them, by id."""
    used_slots = dict(tx.all(SQL.used_slots))
    blocked = dict(tx.all(SQL.blocked_jobs))
    found = {}
    in_force = LimitsInForce(tx)
    for limit_id, per_window, window, burst, stored in tx.all(SQL.rates):
        limit = in_force.of(declared_rate(limit_id, per_window, window, burst))
        tat = gcra.clamp_tat(limit, stored, tx.now)
        used = limit.burst - gcra.available(limit, tat, tx.now)
        if used or limit_id in blocked:
            after = gcra.wait_time(limit, tat, tx.now)
            waiting = blocked.get(limit_id, 0)
            found[limit_id] = LimitStats(id=limit_id, max=limit.burst, used=used, waiting=waiting, available_in=after)
    for limit_id in used_slots.keys() | blocked.keys() - found.keys():
        used, waiting = used_slots.get(limit_id, 0), blocked.get(limit_id, 0)
        found[limit_id] = LimitStats(id=limit_id, max=_slots(tx, in_force, limit_id), used=used, waiting=waiting)
    return [found[limit_id] for limit_id in sorted(found)]


def _slots(tx: Transaction, in_force: LimitsInForce, limit_id: str) -> int:
    """Return how many slots a limit has: by an override, else as declared by the newest of its jobs."""
    declared = load_applied_limits(tx.scalar(SQL.newest_limits, limit_id)).limits
    return next((in_force.of(limit).max for limit in declared if limit.id == limit_id and limit.window is None), 0)
