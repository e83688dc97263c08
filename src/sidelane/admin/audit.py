"""Audit: who changed what, when and why. The store keeps the newest lines."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from sidelane.admin.documents import Document, time_text
from sidelane.model.json_text import dump_json
from sidelane.model.shared_state import JournalAppend, JournalEntry
from sidelane.stores.contract import Store

AUDIT: Final = "audit"
"""Name of the journal."""

MAX_LINES: Final = 10_000
"""Lines that are kept."""

MAX_PART: Final = 300
"""Characters of each part of a line that are kept."""

MAX_READ: Final = 2_000
"""Lines that one page looks at, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """One change: who did what to which object, why, and with which result.

    `action` is a name such as "queue.pause", and `target` the object's name. The store fills in `number` and `at` (seconds since
    1970 by its clock).
    """

    by: str
    action: str
    target: str = ""
    reason: str = ""
    result: str = ""
    failed: bool = False
    number: int = 0
    at: float = 0.0

    def document(self) -> Document:
        """Return the line as JSON."""
        return {
            "at": time_text(self.at), "by": self.by, "action": self.action, "target": self.target or None,
            "reason": self.reason or None, "result": self.result or None, "done": not self.failed,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Selects lines: the beginning of an action, a part of the operator's name, and a part of the target."""

    by: str = ""
    action: str = ""
    target: str = ""

    def matches(self, line: AuditLine) -> bool:
        wanted = (self.by.casefold() in line.by.casefold(), self.target.casefold() in line.target.casefold())
        return all(wanted) and line.action.startswith(self.action)


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Lines, newest first. `before` is the number from which older ones continue, or None after the last."""

    lines: Sequence[AuditLine]
    before: int | None


async def record(store: Store, line: AuditLine) -> None:
    """Keep a line. Raises `StoreError`."""
    parts = {name: getattr(line, name)[:MAX_PART] for name in ("by", "action", "target", "reason", "result")}
    text = dump_json({**parts, "failed": line.failed})
    await store.append_entries(JournalAppend(journal=AUDIT, texts=[text], cap=MAX_LINES))


async def read_audit(
    store: Store, selected: AuditFilter = AuditFilter(), *, before: int | None = None, limit: int = 50
) -> AuditPage:
    """Return the newest lines that match, or the newest with numbers below `before`. Raises `StoreError`.

    A page has fewer lines than `limit` if it has looked at enough. Older ones may follow.
    """
    found: list[AuditLine] = []
    read = 0
    while read < MAX_READ:
        entries = await store.read_journal(AUDIT, before=before)
        if not entries:
            return AuditPage(found, None)
        for line in map(_line, entries):
            before, read = line.number, read + 1
            if selected.matches(line):
                found.append(line)
            if len(found) == limit:
                return AuditPage(found, before)
    return AuditPage(found, before)


def _line(entry: JournalEntry) -> AuditLine:
    return replace(AuditLine(**json.loads(entry.text)), number=entry.number, at=entry.at)
