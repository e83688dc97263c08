"""find: look for jobs, newest first. The statement is `records.RECORD` with the conditions the query asks for."""

import apsw

from sidelane.model.job import JobRecord, Query
from sidelane.stores.sqlite.records import RECORD, STATES, record
from sidelane.stores.sqlite.sql import all_rows

_LABEL = (
    "EXISTS (SELECT 1 FROM json_each(s.labels) l WHERE l.key = ? AND l.value = ?)"  # a path would need its own quoting
)


def find(connection: apsw.Connection, _now: float, query: Query) -> list[JobRecord]:
    """Give the newest jobs that meet every condition, without their history."""
    conditions, values = _conditions(query)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    sql = f"{RECORD}{where} ORDER BY j.seq DESC LIMIT ?"
    return [record(found) for found in all_rows(connection, sql, *values, query.limit)]


def _conditions(query: Query) -> tuple[list[str], list[object]]:
    conditions: list[str] = []
    values: list[object] = []
    if query.states is not None:
        codes = [code for code, state in STATES.items() if state in query.states]
        # a literal, so that the partial index of failed jobs can serve
        conditions.append(f"j.state = {codes[0]}" if len(codes) == 1 else f"j.state IN ({', '.join(map(str, codes))})")
    for column in ("task", "queue", "user", "key", "parent", "batch"):
        value = getattr(query, column)
        if value is not None:
            conditions.append(f"j.{column} = ?")
            values.append(value)
    if query.user is not None:
        conditions.append("j.user <> ''")  # says to SQLite that the index of users can serve
    if query.before is not None:
        conditions.append("j.seq < ?")
        values.append(query.before)
    for name, value in query.labels.items():
        conditions.append(_LABEL)
        values += [name, value]
    return conditions, values
