"""Messages that receivers put aside: a journal of which, and why, for operators."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sidelane.model.errors import StoreError
from sidelane.model.json_text import dump_json
from sidelane.model.printable import printable_line
from sidelane.model.shared_state import JournalAppend, JournalEntry
from sidelane.stores.contract import Store

PUT_ASIDE: Final = "put_aside_messages"
"""Name of the journal."""

MAX_ENTRIES: Final = 1000
"""The newest messages, whose copies are kept."""

MAX_APPENDING: Final = 100
"""Older entries that the journal keeps, so that processes which append at the same moment still find whose copy to remove."""

MAX_TEXT: Final = 500
"""Characters of each text of an entry."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PutAside:
    """A message that a receiver could not use: when, which, from which endpoint, for whom, and why.

    `receiver` is the name of a consumer, or empty for replies of external workers. `job` is the id of the internal job that keeps
    a copy of the message, or empty if there is none. `number` is that of the entry.
    """

    number: int
    at: float
    message: str
    endpoint: str
    receiver: str
    reason: str
    job: str = ""


async def note_put_aside(
    store: Store, message: str, endpoint: str, receiver: str, reason: str, *, job: str = ""
) -> None:
    """Note in the journal that a message was put aside, and remove the copy of the message that is too old now.

    An unavailable store is only logged, because the message is safe.
    """
    texts = {"message": message, "endpoint": endpoint, "receiver": receiver, "reason": reason, "job": job}
    entry = dump_json({name: printable_line(text)[:MAX_TEXT] for name, text in texts.items()})
    try:
        (number,) = await store.append_entries(
            JournalAppend(journal=PUT_ASIDE, texts=[entry], cap=MAX_ENTRIES + MAX_APPENDING)
        )
        for old in await read_put_aside(store, 1, before=number - MAX_ENTRIES + 1):
            if old.job:
                await store.remove([old.job])
    except StoreError as error:
        logger.warning("message %s was put aside, which the store does not note: %s", message, error)


async def read_put_aside(store: Store, limit: int, *, before: int | None = None) -> Sequence[PutAside]:
    """Return the newest messages that were put aside, or the newest with numbers below `before`, newest first."""
    return list(map(_load, await store.read_journal(PUT_ASIDE, before=before, limit=limit)))


def _load(entry: JournalEntry) -> PutAside:
    return PutAside(number=entry.number, at=entry.at, **json.loads(entry.text))
