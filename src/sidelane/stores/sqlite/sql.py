"""What a statement answers, read at once so that no cursor stays open over a write."""

from collections.abc import Sequence
from typing import Any

import apsw


def all_rows(connection: apsw.Connection, sql: str, *values: object) -> list[tuple[Any, ...]]:
    return connection.execute(sql, values).fetchall()


def rows_of_each(connection: apsw.Connection, sql: str, values: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Give what the statement answers to each of these values in turn."""
    return connection.executemany(sql, values).fetchall()


def first(connection: apsw.Connection, sql: str, *values: object) -> tuple[Any, ...] | None:
    return connection.execute(sql, values).fetchone()


def scalar(connection: apsw.Connection, sql: str, *values: object) -> Any:
    """Give the first value of the first row; None where there is no row."""
    found = connection.execute(sql, values).fetchone()
    return found[0] if found else None


def one(connection: apsw.Connection, sql: str, *values: object) -> tuple[Any, ...]:
    """Give the row that must be there, since this transaction has just seen or written it."""
    (found,) = connection.execute(sql, values).fetchall()
    return found
