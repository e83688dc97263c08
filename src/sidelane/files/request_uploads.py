"""What one piece of work saves: it is removed at once where nothing comes of that work."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any

from sidelane.files.references import each
from sidelane.files.uncancellable import to_its_end
from sidelane.model.errors import SidelaneError

Remove = Callable[[str], Awaitable[Any]]


class Saved:
    """The files that were saved within a block, by the 32 digits of their ids. `remove` removes one that no job holds."""

    def __init__(self, remove: Remove) -> None:
        self._remove = remove
        self._files: set[str] = set()

    def add(self, file: str) -> None:
        """Note that a file was saved."""
        self._files.add(file)

    async def remove(self) -> None:
        """Remove those that no job holds. What cannot be removed now stays loose, and goes in a day."""
        files, self._files = self._files, set()
        if files:
            await to_its_end(each(files, self._quietly))

    async def _quietly(self, file: str) -> None:
        with suppress(SidelaneError):
            await self._remove(file)


class Saving:
    """Knows for each task which block it saves files in, if it is in one."""

    def __init__(self) -> None:
        self._current: ContextVar[Saved | None] = ContextVar("saved", default=None)

    def note(self, file: str) -> None:
        """Note that this task has saved a file."""
        saved = self._current.get()
        if saved is not None:
            saved.add(file)

    @asynccontextmanager
    async def block(self, remove: Remove) -> AsyncIterator[Saved]:
        """Note what is saved within the block, and remove it where the block raises."""
        saved, before = Saved(remove), self._current.get()
        self._current.set(saved)
        try:
            yield saved
        except BaseException:
            await saved.remove()
            raise
        finally:
            self._current.set(before)
