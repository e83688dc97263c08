"""Texts of attempts: what each attempt of a job has yielded, side by side, from the newest events of its log."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sidelane.admin.timeline import attempts_of
from sidelane.model.event import ATTEMPT, TOKEN, Cursor, Event
from sidelane.model.job import JobRecord
from sidelane.stores.contract import Store

MAX_EVENTS: Final = 20_000
"""Newest events of a log that are read."""

PAGE_SIZE: Final = 500

MAX_CHARACTERS: Final = 100_000
"""Characters of one attempt's text that are shown, its last ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptText:
    """What one attempt has yielded. `first` and `last` are times of its tokens. `cut` is true if the text has lost its begin."""

    number: int
    text: str
    tokens: int
    first: float | None
    last: float | None
    cut: bool

    @property
    def rate(self) -> float | None:
        """Tokens per second between the first and the last, or None for fewer than two."""
        if self.first is None or self.last is None or self.last <= self.first:
            return None
        return (self.tokens - 1) / (self.last - self.first)


@dataclass(frozen=True, slots=True)
class LogTexts:
    """The texts of a job's attempts, newest first, and the position in its log after which a stream continues them."""

    attempts: Sequence[AttemptText]
    cursor: Cursor | None


async def read_texts(store: Store, record: JobRecord) -> LogTexts:
    """Return the texts in the newest `MAX_EVENTS` events of a job's log."""
    events, whole = await _newest_events(store, record.id)
    starts = [index for index, event in enumerate(events) if event.name == ATTEMPT]
    parts = [events[start:end] for start, end in zip([0, *starts], [*starts, len(events)], strict=True)]
    texts = [_text_of(part, record, cut=not whole and index == 0) for index, part in enumerate(parts) if part]
    newest = texts[-1:] if starts else []  # it may have just begun
    kept = [text for text in texts if text.tokens or text in newest]
    return LogTexts(kept[::-1], events[-1].cursor if events else None)


def first_difference(one: str, other: str) -> int | None:
    """Return the number of the first word in which two texts differ, from 1, or None if one is the begin of the other."""
    pairs = zip(one.split(), other.split(), strict=False)
    found = next((index for index, (left, right) in enumerate(pairs, 1) if left != right), None)
    return None if one.startswith(other) or other.startswith(one) else found


async def _newest_events(store: Store, job_id: str) -> tuple[list[Event], bool]:
    """Return the newest events of a log, oldest first, and whether these are all."""
    found: list[Event] = []
    before: int | None = None
    while len(found) < MAX_EVENTS:
        page = await store.read_last(job_id, before=before, limit=PAGE_SIZE)
        if page is None or not page.events:
            return found, True
        found = [*page.events, *found]
        before = page.events[0].number
        if before == 1:
            return found, True
    return found, False


def _text_of(events: Sequence[Event], record: JobRecord, *, cut: bool) -> AttemptText:
    tokens = [event for event in events if event.name == TOKEN]
    text = "".join(json.loads(event.data)["text"] for event in tokens)
    return AttemptText(
        number=_number_of(events[0], record),
        text=text[-MAX_CHARACTERS:],
        tokens=len(tokens),
        first=tokens[0].at if tokens else None,
        last=tokens[-1].at if tokens else None,
        cut=cut or len(text) > MAX_CHARACTERS,
    )


def _number_of(event: Event, record: JobRecord) -> int:
    """Return the attempt that an event belongs to. Its `attempt` event says it; the first attempt has none."""
    if event.name == ATTEMPT:
        return int(json.loads(event.data)["attempt"])
    earlier = [attempt.number for attempt in attempts_of(record) if attempt.started <= event.at]
    return earlier[-1] if earlier else 1
