"""Overrides of limits: the numbers in force, and the jobs that may start after a number has changed.

A change may concern the limits of many keys. Those that jobs wait for are checked in steps, and each sweep continues where the
last step ended.
"""

from typing import Any

from sidelane.model.limit import Limit
from sidelane.model.limit_override import MAX_OVERRIDES, LimitOverride
from sidelane.stores.sqlite.sql import Transaction, statements

SQL = statements(__file__)

_AFTER_SLASH = "0"  # the character after "/": a name and this come after all ids of the name


class LimitsInForce:
    """The numbers of limits in force within one step of a transaction. Each override is read once, and only if there are any."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._any: bool | None = None
        # by the id of a limit, and whether it is a rate
        self._overrides: dict[tuple[str, bool], LimitOverride | None] = {}

    def of(self, limit: Limit) -> Limit:
        """Return a limit with the numbers in force: those of an override of its key, else of its name, else its own."""
        if self._any is None:
            self._any = self._tx.first(SQL.any) is not None
        if not self._any:
            return limit
        key = (limit.id, limit.window is not None)
        if key not in self._overrides:
            found = self._tx.first(SQL.in_force, limit.id, limit.name, self._tx.now, limit.window is not None)
            self._overrides[key] = None if found is None else _override(found)
        override = self._overrides[key]
        return limit if override is None else override.applied_to(limit)


def overrides(tx: Transaction) -> list[LimitOverride]:
    """Return the overrides in force, by id."""
    return [_override(found) for found in tx.all(SQL.all, tx.now)]


def save(tx: Transaction, override: LimitOverride) -> bool:
    """Save an override in place of that with its id. Return False, without a change, if there are too many others."""
    if tx.scalar(SQL.count_others, override.id) >= MAX_OVERRIDES:
        return False
    tx.execute(
        SQL.save, override.id, override.name, override.key, override.max, override.window, override.burst,
        override.since, override.until, override.by, override.reason,
    )  # fmt: skip
    _add_check(tx, override.id)
    return True


def delete(tx: Transaction, override_id: str) -> bool:
    """Delete an override. Return whether there was one in force."""
    found = tx.first(SQL.delete, override_id)
    if found is None:
        return False
    _add_check(tx, override_id)
    return found[0] is None or found[0] > tx.now


def delete_ended(tx: Transaction) -> None:
    """Delete the overrides whose time is over."""
    for (override_id,) in tx.all(SQL.ended, tx.now):
        delete(tx, override_id)


def next_to_check(tx: Transaction) -> tuple[str, str] | None:
    """Return the first limit with blocked jobs whose number may have changed since it was checked, and the check it belongs to."""
    for last, first in tx.all(SQL.checks):
        limit_id = tx.scalar(SQL.next_blocked, first, last)
        if limit_id is not None:
            return limit_id, last
        tx.execute(SQL.end_check, last)
    return None


def set_checked(tx: Transaction, limit_id: str, check: str) -> None:
    """Continue a check after this limit."""
    tx.execute(SQL.continue_check, f"{limit_id}\0", check)


def _add_check(tx: Transaction, override_id: str) -> None:
    one = "/" in override_id
    first, last = (override_id, override_id) if one else (f"{override_id}/", f"{override_id}{_AFTER_SLASH}")
    tx.execute(SQL.add_check, last, first)


def _override(found: tuple[Any, ...]) -> LimitOverride:
    name, key, maximum, window, burst, since, until, by, reason = found
    return LimitOverride(
        name=name, key=key, max=maximum, window=window, burst=burst, since=since, until=until, by=by, reason=reason
    )
