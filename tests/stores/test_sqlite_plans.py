"""Query plans: frequent statements use their index, and a covering index if they skip many jobs."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from sidelane.model.job import Query, State
from sidelane.stores.clock import ManualClock
from sidelane.stores.sqlite import (
    batches,
    blocked_jobs,
    fair_queue,
    finalize,
    limit_overrides,
    limits,
    paused_batches,
    retention,
    rows,
)
from sidelane.stores.sqlite.store import SqliteStore
from sidelane.stores.sqlite.verbs import shared_state, submit, sweep
from sidelane.stores.sqlite.verbs.query import SQL, _along_index, _conditions, _index_of

WHOLE_TABLE = re.compile(r"SCAN (jobs|slots|replaceable_jobs|rates|batches|[bcjpqrw])\b(?!.* INDEX)")
"""A step that scans a whole table, by name or alias."""


@pytest.fixture
async def store() -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(":memory:", ManualClock())
    yield store
    await store.close()


def plan(store: SqliteStore, sql: str) -> list[str]:
    """Return the query plan of a statement."""
    names = [f"?{number}" for number in range(1, 10) if f"?{number}" in sql]
    values = (None,) * (len(names) or sql.count("?"))
    return [step[3] for step in store._writer._connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]


@pytest.mark.parametrize(
    ("sql", "index"),
    [
        (fair_queue.SQL.ready_jobs, "COVERING INDEX jobs_ready"),
        (blocked_jobs.SQL.first_blocked, "COVERING INDEX jobs_blocked"),
        (blocked_jobs.SQL.blocked, "INDEX jobs_blocked"),
        (blocked_jobs.SQL.count_unblocked, "COVERING INDEX jobs_unblocked"),
        (blocked_jobs.SQL.with_unblocked_and_blocked, "RECURSIVE STEP"),
        (blocked_jobs.SQL.with_unblocked_and_blocked, "COVERING INDEX jobs_unblocked"),
        (blocked_jobs.SQL.with_unblocked_and_blocked, "COVERING INDEX jobs_blocked"),
        (blocked_jobs.SQL.next_unblock, "COVERING INDEX jobs_blocked_in_queue"),
        (blocked_jobs.SQL.due_rates, "INDEX rates_unblock"),
        (paused_batches.SQL.any_is_paused, "INDEX batches_paused"),
        (paused_batches.SQL.next_resumed, "INDEX batches_paused"),
        (paused_batches.SQL.is_paused, "INTEGER PRIMARY KEY"),
        (paused_batches.SQL.paused_jobs, "INDEX jobs_paused"),
        (limit_overrides.SQL.in_force, "PRIMARY KEY"),
        (limit_overrides.SQL.next_blocked, "COVERING INDEX jobs_blocked"),
        (limits.SQL.prune_rates, "INDEX rates_tat"),
        (limits.SQL.count_slots, "PRIMARY KEY"),
        (submit.SQL.count_queued, "COVERING INDEX jobs_ready"),
        (submit.SQL.count_queued, "COVERING INDEX jobs_due"),
        (submit.SQL.count_queued, "COVERING INDEX jobs_blocked_in_queue"),
        (submit.SQL.count_queued, "COVERING INDEX jobs_paused_in_queue"),
        (submit.SQL.replaced, "PRIMARY KEY"),
        (finalize.SQL.cascade_children, "INDEX jobs_cascade"),
        (batches.SQL.removable, "INDEX batches_remove"),
        (retention.SQL.removable, "INDEX jobs_remove"),
        (shared_state.SQL.values, "PRIMARY KEY (name>? AND name<?)"),
        (shared_state.SQL.entries, "PRIMARY KEY (journal=? AND number>? AND number<?)"),
        (shared_state.SQL.trim, "PRIMARY KEY (journal=? AND number<?)"),
        (shared_state.SQL.prune_requests, "INDEX shared_requests_at (at<?)"),
        (sweep.SQL.expired_leases, "INDEX jobs_running (worker>?)"),
        (sweep.SQL.expired_external_jobs, "INDEX jobs_external"),
        (sweep.SQL.next_expiry, "INDEX jobs_external"),
    ],
)
def test_a_frequent_statement_uses_its_index(store: SqliteStore, sql: str, index: str) -> None:
    steps = plan(store, sql)
    assert any(index in step for step in steps), steps
    assert not any(WHOLE_TABLE.match(step) for step in steps), steps


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (Query(batch="b"), "jobs_batch"),
        (Query(parent="p"), "jobs_parent"),
        (Query(key="k"), "jobs_key "),
        (Query(user="u"), "jobs_user "),
        (Query(key="k", user="u"), "jobs_user_key"),
    ],
)
def test_listing_jobs_of_one_batch_parent_key_or_user_uses_an_index(
    store: SqliteStore, query: Query, index: str
) -> None:
    conditions, values = _conditions(query)
    sql = f"{rows.SQL.record} WHERE {' AND '.join(conditions)} ORDER BY j.seq DESC LIMIT {query.limit}"
    steps = [step[3] for step in store._writer._connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert any(f"INDEX {index}" in step for step in steps), steps


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (Query(user="u"), "jobs_user "),
        (Query(user="u", key="k", text="x"), "jobs_user_key"),
        (Query(key="k", task="t"), "jobs_key "),
        (Query(states=frozenset({State.FAILED}), queue="q"), "jobs_failed"),
        (Query(states=frozenset({State.RUNNING}), user="u"), "jobs_running"),
        (Query(queue="q", task="t"), "PRIMARY KEY"),
    ],
)
def test_search_reads_the_numbers_of_jobs_along_an_index(store: SqliteStore, query: Query, index: str) -> None:
    for bounds in (Query(), Query(before=9), Query(before=9, after=2)):
        bounded = replace(query, before=bounds.before, after=bounds.after)
        conditions, values = _conditions(_index_of(bounded))
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        sql = f"{_along_index(SQL.sequences, bounded)}{where} ORDER BY j.seq DESC LIMIT 10"
        steps = [step[3] for step in store._writer._connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
        assert any(index in step for step in steps) or (steps == ["SCAN j"] and index == "PRIMARY KEY"), steps
