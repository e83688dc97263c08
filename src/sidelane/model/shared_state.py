"""Shared state: small values with versions, and journals of a bounded number of entries.

A pause with its reason, an override or a muted finding is a value. Audit lines, notes and releases are entries of journals.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sidelane.model.checks import is_count
from sidelane.model.errors import PayloadTooLarge
from sidelane.model.ids import is_id, new_nonce
from sidelane.model.job import MAX_TEXT
from sidelane.model.json_text import is_storable

MAX_NAME: Final = 2 * MAX_TEXT + 64
"""Maximum characters of a name. A name may contain two texts of a job, e.g. its queue and its user."""

MAX_VALUE: Final = 64 * 1024
"""Maximum bytes of a value's text as UTF-8."""

MAX_ENTRY: Final = 16 * 1024
"""Maximum bytes of an entry's text as UTF-8."""

MAX_ENTRIES: Final = 64
"""Maximum number of entries that one call appends: 1 MiB at most (rule 16)."""

MAX_CAP: Final = 100_000
"""Maximum number of entries that a journal keeps."""

_LAST_CHARACTER, _BEFORE_SURROGATES, _AFTER_SURROGATES = "\U0010ffff", "\ud7ff", "\ue000"


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionedValue:
    """A value as the store keeps it: its text, the version that the last change gave it, and the store's time of that change."""

    name: str
    text: str
    version: str
    changed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueChange:
    """A change of one value, which counts only if the value still has the version that it `replaces`.

    `replaces` is None for a value that must not exist yet. A `text` of None deletes the value, which must exist.
    `version` is random: it identifies the change if the call is repeated, and it is the value's version afterwards.

    Raises ValueError for a name, text or version that cannot be stored, and `PayloadTooLarge` for a text that is too large.
    """

    name: str
    text: str | None
    replaces: str | None
    version: str = field(default_factory=new_nonce)

    def __post_init__(self) -> None:
        _check_name(self.name, "value")
        _check_request(self.version)
        if self.replaces is not None:
            _check_request(self.replaces)
        if self.text is None and self.replaces is None:
            raise ValueError(f"To delete the value {self.name[:200]!a}, name the version to delete.")
        if self.text is not None:
            _check_text(self.text, MAX_VALUE, f"The text of the value {self.name[:200]!a}")


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalAppend:
    """New entries of one journal, oldest first. Afterwards the journal keeps its newest `cap` entries.

    `request` is random: it identifies the call if it is repeated.

    Raises ValueError for a name, a text or numbers that cannot be stored, and `PayloadTooLarge` for a text that is too large.
    """

    journal: str
    texts: Sequence[str]
    cap: int
    request: str = field(default_factory=new_nonce)

    def __post_init__(self) -> None:
        _check_name(self.journal, "journal")
        _check_request(self.request)
        if not is_count(self.cap) or self.cap > MAX_CAP:
            raise ValueError(
                f"The journal {self.journal[:200]!a} has the cap {self.cap!r}: use 1 to {MAX_CAP:,} entries."
            )
        if len(self.texts) > MAX_ENTRIES:
            raise ValueError(
                f"{len(self.texts)} entries are too many for one append to the journal {self.journal[:200]!a}: append at "
                f"most {MAX_ENTRIES} at once."
            )
        for text in self.texts:
            _check_text(text, MAX_ENTRY, f"An entry of the journal {self.journal[:200]!a}")


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One entry of a journal, with its number and the store's time of its append. A journal's first entry has the number 1."""

    number: int
    at: float
    text: str


def is_name(text: str) -> bool:
    """Return whether a text may be the name of a value or journal: 1 to `MAX_NAME` characters that UTF-8 can encode."""
    return 0 < len(text) <= MAX_NAME and is_storable(text)


def name_range(prefix: str, after: str | None) -> tuple[str, str | None] | None:
    """Return the first and the end (excluded; None: no end) of the names with a prefix that follow the name `after`.

    Names are in the order of their characters, which is also the order of their UTF-8 bytes. Returns None if the range is empty.
    """
    if not is_storable(prefix) or not is_storable(after or ""):
        return None
    first = prefix if after is None else max(prefix, f"{after}\0")  # the successor of a text is the text with a NUL
    end = _end_of_prefix(prefix)
    return None if end is not None and first >= end else (first, end)


def _end_of_prefix(prefix: str) -> str | None:
    """Return the smallest text that is greater than every text with this prefix, or None if there is no such text."""
    rest = prefix.rstrip(_LAST_CHARACTER)
    if not rest:
        return None
    last = rest[-1]
    return rest[:-1] + (_AFTER_SURROGATES if last == _BEFORE_SURROGATES else chr(ord(last) + 1))


def _check_name(name: str, what: str) -> None:
    if not is_name(name):
        raise ValueError(
            f"{name[:200]!a} cannot name a {what}: use 1 to {MAX_NAME:,} characters that can be written as UTF-8 "
            f"(it has {len(name):,})."
        )


def _check_request(request: str) -> None:
    if not is_id(request):
        raise ValueError(
            f"{request[:200]!a} cannot identify a request: use 1 to 128 of the characters A-Z a-z 0-9 . _ ~ -"
        )


def _check_text(text: str, limit: int, what: str) -> None:
    if not is_storable(text):
        raise ValueError(f"{what} cannot be written as UTF-8: escape its lone surrogates, as JSON text can.")
    size = len(text.encode())
    if size > limit:
        raise PayloadTooLarge(f"{what} has {size:,} bytes; use at most {limit:,}.")
