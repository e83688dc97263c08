"""File: a value that refers to stored bytes, as an argument or a result of tasks."""

import re
from collections.abc import AsyncIterator
from typing import Any, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationInfo, model_validator

from sidelane.files.reader import FileHandle, LocalPath
from sidelane.model.durations import Duration
from sidelane.model.errors import UnboundFile

ID_PREFIX = "sidelane-file:"
"""Prefix of every file id, so that ids are found in any text."""

DIGITS = "[0-9a-f]{32}"
ID = re.compile(ID_PREFIX + DIGITS)

MAX_NAME_LENGTH = 255
MAX_TYPE_LENGTH = 127
"""Maximum characters of a media type."""

CONTEXT = "files"
"""Key of the validation context that holds the file backend."""


class FileBackend(Protocol):
    """What a file needs to be opened."""

    def open(self, file: "File") -> FileHandle: ...
    def local_copy(self, file: "File") -> LocalPath: ...
    async def url(self, file: "File", *, expires: Duration) -> str: ...


class File(BaseModel):
    """One stored file, as an argument or a result of a task: `audio: File`.

    `lane.files.save(…)` returns one. In JSON it is `{"file": id, "name", "type", "bytes", "sha256"}`. The id of a file cannot be
    guessed; anyone who knows the id may use the file. Methods raise `UnknownFile` or `FilesUnavailable`. They
    raise `UnboundFile` if the file does not come from the lane (see `lane.files.bind`).
    """

    # by alias, so that it looks the same in a job's arguments and in an HTTP response
    model_config = ConfigDict(frozen=True, validate_by_name=True, serialize_by_alias=True)

    id: str = Field(alias="file", pattern=f"^{ID_PREFIX}{DIGITS}$")
    name: str = Field(max_length=MAX_NAME_LENGTH)
    type: str = Field(max_length=MAX_TYPE_LENGTH)
    size: int = Field(alias="bytes", ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    _backend: FileBackend | None = PrivateAttr(None)

    async def read(self) -> bytes:
        """Return all bytes of the file."""
        async with self.open() as opened:
            return await opened.read()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the file in chunks, with constant memory."""
        async with self.open() as opened:
            while chunk := await opened.read(opened.chunk_size):
                yield chunk

    def open(self) -> FileHandle:
        """Return a context manager that opens the file: `async with file.open() as opened: await opened.read(100)`.

        Without an event loop, `with file.open() as opened:` opens an ordinary binary file.
        """
        return self._bound().open(self)

    def path(self) -> LocalPath:
        """Return a context manager of a local path, for tools that need one: `async with file.path() as path:`, or `with`.

        With folder storage this is the stored file itself, which must not be changed. Otherwise it is a temporary copy.
        """
        return self._bound().local_copy(self)

    async def url(self, expires: Duration = 600.0) -> str:
        """Return a URL that downloads the file, valid for `expires` seconds, at most a week."""
        return await self._bound().url(self, expires=expires)

    def bind_to(self, backend: FileBackend | None) -> Self:
        """Return this file as a file that can be opened."""
        copy = self.model_copy()
        copy._backend = backend  # noqa: SLF001 - its own
        return copy

    @model_validator(mode="after")
    def _bind(self, info: ValidationInfo[Any]) -> Self:
        if info.context is not None:
            self._backend = info.context.get(CONTEXT)
        return self

    def _bound(self) -> FileBackend:
        if self._backend is None:
            raise UnboundFile(
                f"File {self.name!r} does not come from the lane: `lane.files.bind(file)` returns one that can be opened."
            )
        return self._backend

    def __eq__(self, other: object) -> bool:
        """Compare the fields, whether or not the files can be opened."""
        return isinstance(other, File) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        return hash(self.id)

    def __deepcopy__(self, memo: object = None) -> Self:
        return self  # it is immutable, and its backend must not be copied
