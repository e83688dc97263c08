"""read_values, list_values, set_value, append_entries, read_journal: versioned values and journals."""

from collections.abc import Sequence
from typing import Any

from sidelane.model.shared_state import JournalAppend, JournalEntry, ValueChange, VersionedValue, is_name, name_range
from sidelane.stores.chunking import MAX_ITEMS
from sidelane.stores.contract import MAX_PAGE_BYTES, MAX_PAGE_ITEMS, REQUEST_RETENTION
from sidelane.stores.sqlite.sql import Transaction, statements

SQL = statements(__file__)

_MAX_PRUNED = 2  # requests that each new one removes at most: more than it adds, so the table shrinks
_NO_END = b""  # a blob is greater than any text
_MAX_NUMBER = 2**62


def read_values(tx: Transaction, names: Sequence[str]) -> list[VersionedValue | None]:
    """Return the value of each name, or None."""
    found = [tx.first(SQL.value, name) if is_name(name) else None for name in names]
    return [_value(row) if row else None for row in found]


def list_values(tx: Transaction, prefix: str, after: str | None, limit: int) -> list[VersionedValue]:
    """Return a page of the values with a prefix, by name."""
    names = name_range(prefix, after)
    if names is None or limit < 1:
        return []
    first, end = names
    return [_value(row) for row in _page(tx, SQL.values, first, _NO_END if end is None else end, limit=limit)]


def set_value(tx: Transaction, change: ValueChange) -> bool:
    """Set or delete a value if it has the expected version. Return whether this change counts, now or when it came before."""
    if tx.first(SQL.request, change.version):
        return True
    if tx.scalar(SQL.version, change.name) != change.replaces:
        return False
    if change.text is None:
        tx.execute(SQL.delete, change.name)
    else:
        tx.execute(SQL.set, change.name, change.text, change.version, tx.now)
    _remember(tx, change.version)
    tx.changes.values.add(change.name)
    return True


def append_entries(tx: Transaction, append: JournalAppend) -> list[int]:
    """Append entries to a journal and return their numbers. Entries beyond the cap are hidden now and deleted in small steps."""
    count = len(append.texts)
    if count == 0:
        return []
    found = tx.first(SQL.request, append.request)
    if found is not None:
        return list(range(found[0], found[0] + count))
    tx.execute(SQL.add_journal, append.journal)
    journal, last, oldest = tx.one(SQL.journal, append.journal)
    numbers = list(range(last + 1, last + 1 + count))
    tx.execute_many(
        SQL.add_entry,
        [(journal, number, tx.now, text) for number, text in zip(numbers, append.texts, strict=True)],
    )
    oldest = max(oldest, last + count + 1 - append.cap)
    tx.execute(SQL.set_journal, last + count, oldest, journal)
    tx.execute(SQL.trim, journal, oldest, count + MAX_ITEMS)
    _remember(tx, append.request, last + 1)
    return numbers


def read_journal(tx: Transaction, journal: str, before: int | None, limit: int) -> list[JournalEntry]:
    """Return a page of a journal's entries, newest first."""
    found = tx.first(SQL.journal, journal) if is_name(journal) and limit > 0 else None
    if found is None:
        return []
    journal_id, last, oldest = found
    end = last + 1 if before is None else max(0, min(before, _MAX_NUMBER))
    return [JournalEntry(*row) for row in _page(tx, SQL.entries, journal_id, oldest, end, limit=limit)]


def _page(tx: Transaction, sql: str, *values: object, limit: int) -> list[tuple[Any, ...]]:
    """Return the rows that a statement finds, up to the maximum size of a page. The texts are in the columns."""
    rows: list[tuple[Any, ...]] = []
    size = 0
    for row in tx.connection.execute(sql, (*values, min(limit, MAX_PAGE_ITEMS))):
        rows.append(row)
        size += sum(len(column.encode()) for column in row if isinstance(column, str))
        if size > MAX_PAGE_BYTES:
            break
    return rows


def _remember(tx: Transaction, request: str, first: int = 0) -> None:
    """Record a request, and forget some that are too old to be repeated."""
    tx.execute(SQL.prune_requests, tx.now - REQUEST_RETENTION, _MAX_PRUNED)
    tx.execute(SQL.add_request, request, tx.now, first)


def _value(row: tuple[Any, ...]) -> VersionedValue:
    name, text, version, changed = row
    return VersionedValue(name=name, text=text, version=version, changed=changed)
