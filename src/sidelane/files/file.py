"""A file as tasks and their callers know it: a value that stands for bytes which are kept elsewhere."""

import re
from collections.abc import AsyncIterator
from typing import Any, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationInfo, model_validator

from sidelane.files.reader import FileHandle, LocalPath
from sidelane.model.errors import UnboundFile

ID_PREFIX = "sidelane-file:"
"""What the id of every file begins with, so that it is found in any text."""

DIGITS = "[0-9a-f]{32}"
ID = re.compile(ID_PREFIX + DIGITS)

MAX_NAME_LENGTH = 255
MAX_TYPE_LENGTH = 127
"""Characters."""

CONTEXT = "files"
"""Where the validation of a file finds what opens it."""


class FileBackend(Protocol):
    """What a file asks of where it is kept."""

    def opening(self, file: "File") -> FileHandle: ...
    def local_copy(self, file: "File") -> LocalPath: ...
    async def url(self, file: "File", *, expires: float) -> str: ...


class File(BaseModel):
    """One file that a lane keeps. A task takes one as an argument, or gives one as its result: `audio: File`.

    Made by `lane.files.save(…)`. In JSON it is `{"file": id, "name", "type", "bytes", "sha256"}`; whoever knows its id, which
    cannot be guessed, may have it opened. Its methods raise `UnboundFile` where it came from elsewhere than the lane
    (`lane.files.bind(file)`), `UnknownFile`, `FilesUnavailable`.
    """

    # by alias: so it is the same wherever it is written, in a job's arguments or in an answer over HTTP
    model_config = ConfigDict(frozen=True, validate_by_name=True, serialize_by_alias=True)

    id: str = Field(alias="file", pattern=f"^{ID_PREFIX}{DIGITS}$")
    name: str = Field(max_length=MAX_NAME_LENGTH)
    type: str = Field(max_length=MAX_TYPE_LENGTH)
    size: int = Field(alias="bytes", ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    _keeping: FileBackend | None = PrivateAttr(None)

    async def read(self) -> bytes:
        """Read all of it."""
        async with self.open() as opened:
            return await opened.read()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Read it piece by piece, in constant memory."""
        async with self.open() as opened:
            while chunk := await opened.read(opened.piece):
                yield chunk

    def open(self) -> FileHandle:
        """Open it for reading: `async with file.open() as opened: await opened.read(100)`.

        In tasks without an event loop, `with file.open() as opened:` gives an ordinary binary file.
        """
        return self._bound().opening(self)

    def path(self) -> LocalPath:
        """Have it as a local file, for tools that need one: `async with file.path() as path:`, or `with` without an event loop.

        What lies in a folder is there itself, and must not be written to; else it is a copy, which is removed after the block.
        """
        return self._bound().local_copy(self)

    async def url(self, expires: float = 600.0) -> str:
        """Make a link that downloads it, for `expires` seconds, a week at most."""
        return await self._bound().url(self, expires=expires)

    def bound(self, keeping: FileBackend | None) -> Self:
        """Give this file as one that can be opened."""
        twin = self.model_copy()
        twin._keeping = keeping  # noqa: SLF001 - its own
        return twin

    @model_validator(mode="after")
    def _bind(self, info: ValidationInfo[Any]) -> Self:
        if info.context is not None:
            self._keeping = info.context.get(CONTEXT)
        return self

    def _bound(self) -> FileBackend:
        if self._keeping is None:
            raise UnboundFile(
                f"File {self.name!r} came from elsewhere than its lane: `lane.files.bind(file)` gives one that can be opened."
            )
        return self._keeping

    def __eq__(self, other: object) -> bool:
        """Wherever it can be opened."""
        return isinstance(other, File) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        return hash(self.id)

    def __deepcopy__(self, memo: object = None) -> Self:
        return self  # it never changes, and where it is kept is not to be copied with it
