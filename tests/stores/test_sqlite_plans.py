"""How SQLite finds what the verbs ask for: by an index made for it, and where many are passed by, by the index alone."""

import re
from collections.abc import AsyncIterator

import pytest

from sidelane.model.job import Query
from sidelane.stores.clock import ManualClock
from sidelane.stores.sqlite import admission, batches, blocked_jobs, cascade, fair_queue, rates, retention, slots
from sidelane.stores.sqlite.records import RECORD
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.store import SqliteStore
from sidelane.stores.sqlite.verbs import sweep
from sidelane.stores.sqlite.verbs.find import _conditions

WHOLE_TABLE = re.compile(r"SCAN (jobs|slots|replaceable|rates|batches|[bcjpqrw])\b(?!.* INDEX)")
"""A step that reads a table from one end to the other, under its name or the letter it goes by."""


@pytest.fixture
async def store() -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(":memory:", ManualClock())
    yield store
    await store.close()


def plan(store: SqliteStore, sql: str) -> list[str]:
    """Give the steps by which SQLite would run a statement."""
    names = [f"?{number}" for number in range(1, 10) if f"?{number}" in sql]
    values = (None,) * (len(names) or sql.count("?"))
    return [step[3] for step in store._writer._connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]


@pytest.mark.parametrize(
    ("module", "name", "index"),
    [
        (fair_queue, "waiting", "COVERING INDEX jobs_ready"),
        (blocked_jobs, "first", "COVERING INDEX jobs_parked"),
        (blocked_jobs, "in_order", "INDEX jobs_parked"),
        (blocked_jobs, "woken", "COVERING INDEX jobs_woken"),
        (blocked_jobs, "passed_by", "RECURSIVE STEP"),
        (blocked_jobs, "passed_by", "COVERING INDEX jobs_woken"),
        (blocked_jobs, "passed_by", "COVERING INDEX jobs_parked"),
        (blocked_jobs, "next_wake", "COVERING INDEX jobs_parked_in"),
        (blocked_jobs, "rates_due", "INDEX rates_wake"),
        (rates, "forget", "INDEX rates_over"),
        (slots, "held", "PRIMARY KEY"),
        (admission, "queued", "COVERING INDEX jobs_ready"),
        (admission, "queued", "COVERING INDEX jobs_due"),
        (admission, "queued", "COVERING INDEX jobs_parked_in"),
        (admission, "replaced", "PRIMARY KEY"),
        (cascade, "children", "INDEX jobs_cascade"),
        (batches, "removable", "INDEX batches_forget"),
        (retention, "removable", "INDEX jobs_forget"),
        (sweep, "left_behind", "INDEX jobs_running (worker>?)"),
        (sweep, "unanswered", "INDEX jobs_outside"),
        (sweep, "next_dead", "INDEX jobs_outside"),
    ],
)
def test_what_is_asked_often_is_found_by_its_index(store: SqliteStore, module: object, name: str, index: str) -> None:
    steps = plan(store, statements(str(module.__file__))[name])  # type: ignore[attr-defined]
    assert any(index in step for step in steps), steps
    assert not any(WHOLE_TABLE.match(step) for step in steps), steps


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (Query(batch="b"), "jobs_batch"),
        (Query(parent="p"), "jobs_parent"),
        (Query(key="k"), "jobs_key"),
        (Query(user="u"), "jobs_user"),
    ],
)
def test_jobs_of_one_batch_parent_key_or_user_are_found_by_an_index(
    store: SqliteStore, query: Query, index: str
) -> None:
    conditions, values = _conditions(query)
    sql = f"{RECORD} WHERE {' AND '.join(conditions)} ORDER BY j.seq DESC LIMIT {query.limit}"
    steps = [step[3] for step in store._writer._connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert any(f"INDEX {index}" in step for step in steps), steps
