"""What one attempt emits, on its way to the log: numbered here, sent by the worker's reporting."""

import asyncio
from collections.abc import Callable

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json

from sidelane.model.codec import limited
from sidelane.model.errors import SidelaneError
from sidelane.model.event import NAME, PROGRESS, RESERVED, TOKEN, Entry
from sidelane.model.job import Lease
from sidelane.model.outcome import Append

MOST_WAITING = 1000
"""Entries an attempt may have waiting before it is made to wait itself: this bounds its memory when the store is slow."""

MOST_ENTRIES = 200
MOST_BYTES = 262_144
"""What one append takes of one attempt at most, so that nobody fills a transaction (rules 16)."""

MOST_BYTES_OF_REST = 1_048_576
"""What one report takes with it, beside the number of entries that may wait."""


def token_entry(text: str, limit: int) -> Entry:
    return Entry(TOKEN, limited(to_json({"text": text}).decode(), limit, "A token"))


def progress_entry(percent: float, message: str, limit: int) -> Entry:
    if not 0 <= percent <= 100:
        raise ValueError(f"progress({percent}): a percentage goes from 0 to 100.")
    return Entry(
        PROGRESS, limited(to_json({"percent": percent, "message": message}).decode(), limit, "A progress message")
    )


def named_entry(name: str, data: object, limit: int) -> Entry:
    """Make an entry of the task's own. Raises ValueError on a reserved or malformed name, TypeError on data without JSON."""
    if name in RESERVED or not NAME.fullmatch(name):
        raise ValueError(
            f"emit({name!r}): a name is lower case letters, digits or '_.-', and none of {', '.join(sorted(RESERVED))}."
        )
    try:
        text = to_json(data, inf_nan_mode="null").decode()
    except PydanticSerializationError as error:
        raise TypeError(f"emit({name!r}): its data has no JSON form: {error}") from error
    return Entry(name, limited(text, limit, f"Event {name!r}"))


def model_entry(model: BaseModel, limit: int) -> Entry:
    """Make an entry of a pydantic model: named by its `event` class attribute, else by its class in snake case."""
    name = getattr(type(model), "event", None)
    return named_entry(name if isinstance(name, str) else _snake(type(model).__name__), model, limit)


class LeaseLost(SidelaneError):
    """The attempt has lost its lease: nothing it emits counts any more."""


class Emission:
    """The entries of one attempt that wait to be written, in order and numbered by its own ordinal (rules 3)."""

    def __init__(self, lease: Lease, dirty: Callable[["Emission"], None]) -> None:
        self.lease = lease
        self.lost = False
        self._dirty = dirty
        self._waiting: list[Entry] = []
        self._ordinal = 1  # of the first waiting entry
        self._in_flight = 0  # how many of the waiting entries are being written
        self._settled: list[asyncio.Future[None]] = []

    def put(self, entry: Entry) -> None:
        """Take an entry. Raises `LeaseLost` when nobody would hear it."""
        if self.lost:
            raise LeaseLost
        self._waiting.append(entry)
        self._dirty(self)

    @property
    def full(self) -> bool:
        return len(self._waiting) > MOST_WAITING

    async def room(self) -> None:
        """Wait until there is room for more."""
        while self.full and not self.lost:
            await self._settle()

    def take(self) -> Append | None:
        """Give what waits as one append, or None when there is nothing or it is under way already."""
        if self._in_flight or not self._waiting:
            return None
        self._in_flight = count = self._portion()
        return Append(lease=self.lease, ordinal=self._ordinal, entries=tuple(self._waiting[:count]))

    def written(self, held: bool) -> None:
        """Hear that the last taken append was written, or that the lease is lost."""
        del self._waiting[: self._in_flight]
        self._ordinal += self._in_flight
        self._in_flight = 0
        if not held:
            self.lost = True
            self._waiting.clear()
        settled, self._settled = self._settled, []
        for future in settled:
            if not future.done():
                future.set_result(None)
        if self._waiting:
            self._dirty(self)

    async def rest(self) -> tuple[int, tuple[Entry, ...]]:
        """Give the last entries and the ordinal of the first, to go with the report; wait while they are too much for one.

        What is under way goes with it again: a store that is full takes ends and no appends, and ignores what it has seen
        (rules 3, 22).
        """
        while sum(len(entry.data) for entry in self._waiting) > MOST_BYTES_OF_REST:
            await self._settle()
        waiting, self._waiting = tuple(self._waiting), []
        return self._ordinal, waiting

    def _portion(self) -> int:
        size = 0
        for count, entry in enumerate(self._waiting[:MOST_ENTRIES]):
            size += len(entry.data)
            if count and size > MOST_BYTES:
                return count
        return min(len(self._waiting), MOST_ENTRIES)

    async def _settle(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settled.append(future)
        await future


def _snake(name: str) -> str:
    return "".join(
        f"_{letter.lower()}" if letter.isupper() and place else letter.lower() for place, letter in enumerate(name)
    )
