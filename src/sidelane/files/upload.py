"""Uploads: any kind of upload as one stream that is counted and hashed, and the files that one request saves."""

import asyncio
import hashlib
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from sidelane.files.file import MAX_NAME_LENGTH, MAX_TYPE_LENGTH
from sidelane.files.media_types import HEAD_SIZE, checked_type
from sidelane.files.references import for_each
from sidelane.files.storage import finish_in_background
from sidelane.model.errors import ArgumentsError, FileTooLarge, SidelaneError

CHUNK_SIZE = 256 * 1024
"""Bytes of one chunk."""

_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f/\\]+")

_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(;[\x20-\x7e]*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class UploadSource:
    """An upload: its bytes, and its declared name and type."""

    chunks: AsyncIterator[bytes]
    name: str
    type: str | None


class ReadableUpload(Protocol):
    """Any object with a synchronous or asynchronous `read`, e.g. a Starlette `UploadFile` or a binary file."""

    def read(self, size: int = ..., /) -> bytes | Awaitable[bytes]: ...


Uploaded = bytes | bytearray | memoryview | Path | AsyncIterator[bytes] | ReadableUpload
"""Types that can be saved."""


def open_upload(upload: Any, name: str | None, type_: str | None) -> UploadSource:
    """Return the source of an upload: a Starlette `UploadFile`, bytes, a `Path`, a binary file, or an async iterator of bytes.

    Raises `ArgumentsError` if the value is anything else.
    """
    declared_name, declared_type = getattr(upload, "filename", None), getattr(upload, "content_type", None)
    match upload:
        case bytes() | bytearray() | memoryview():
            chunks = _once(bytes(upload))
        case Path():  # not str: a form may hold a text of the client instead of a file
            declared_name, chunks = upload.name, _from_path(upload)
        case AsyncIterator():
            chunks = upload
        case _ if inspect.iscoroutinefunction(getattr(upload, "read", None)):
            chunks = _from_async_file(upload)
        case _ if callable(getattr(upload, "read", None)):
            declared_name, chunks = declared_name or getattr(upload, "name", None), _from_file(upload)
        case _:
            raise ArgumentsError(
                f"{type(upload).__name__}: save accepts an UploadFile, bytes, a Path, a binary file, or an async iterator of "
                "bytes, such as request.stream()."
            )
    declared = type_ or declared_type
    return UploadSource(
        chunks, sanitize_name(name or declared_name), declared if declared and is_media_type(declared) else None
    )


def sanitize_name(name: object) -> str:
    """Return a file name without folders and control characters, shortened if necessary."""
    last = str(name or "").replace("\\", "/").rstrip("/").rpartition("/")[2]
    return _NOT_IN_NAMES.sub("", last[: MAX_NAME_LENGTH * 4])[:MAX_NAME_LENGTH] or "file"


def is_media_type(text: str) -> bool:
    """Return whether a text may be a media type."""
    return len(text) <= MAX_TYPE_LENGTH and _TYPE.fullmatch(text) is not None


class HashingStream:
    """A stream of chunks whose type is detected and whose bytes are counted and hashed."""

    def __init__(self, chunks: AsyncIterator[bytes], max_bytes: int | None) -> None:
        self._chunks = chunks
        self._max_bytes = max_bytes
        self._digest = hashlib.sha256()
        self._head: bytes | None = None
        self.size = 0

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes that were read, in hex."""
        return self._digest.hexdigest()

    async def type(self, declared: str | None, wanted: Sequence[str]) -> str:
        """Return the type of the file before the stream is read. Raises `WrongFileType` or `FileTooLarge`."""
        self._head = await self._next_chunk()
        return checked_type(self._head[:HEAD_SIZE], declared, wanted)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the chunks. Raises `FileTooLarge` at the first byte above the limit."""
        chunk = await self._next_chunk() if self._head is None else self._head
        while chunk:
            await asyncio.to_thread(self._digest.update, chunk)
            yield chunk
            chunk = await self._next_chunk()

    async def _next_chunk(self) -> bytes:
        """Return about one chunk, or b"" at the end."""
        found: list[bytes] = []
        size = 0
        while size < CHUNK_SIZE and (chunk := await anext(self._chunks, None)) is not None:
            found.append(chunk)
            size += len(chunk)
            self.size += len(chunk)
            if self._max_bytes is not None and self.size > self._max_bytes:
                raise FileTooLarge(f"The file has more than {self._max_bytes:,} bytes, which is the limit here.")
        return found[0] if len(found) == 1 else b"".join(found)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), CHUNK_SIZE):
        yield content[start : start + CHUNK_SIZE]


async def _from_async_file(upload: Any) -> AsyncIterator[bytes]:
    while chunk := await upload.read(CHUNK_SIZE):
        yield chunk


async def _from_file(file: BinaryIO) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, CHUNK_SIZE):
        if not isinstance(chunk, bytes):
            raise ArgumentsError(f"{file!r} returns text: open it in binary mode.")
        yield chunk


async def _from_path(path: Path) -> AsyncIterator[bytes]:
    opened: Callable[..., Any] = path.open
    file = await asyncio.to_thread(opened, "rb")
    try:
        async for chunk in _from_file(file):
            yield chunk
    finally:
        file.close()


Remove = Callable[[str], Awaitable[Any]]


class SavedFiles:
    """Files that were saved within a context, by the 32 digits of their ids. `remove` removes a file that no job references."""

    def __init__(self, remove: Remove) -> None:
        self._remove = remove
        self._files: set[str] = set()

    def add(self, file: str) -> None:
        """Record that a file was saved."""
        self._files.add(file)

    async def remove(self) -> None:
        """Remove the files that no job references. The daily cleanup removes the files that cannot be removed now."""
        files, self._files = self._files, set()
        if files:
            await finish_in_background(for_each(files, self._remove_quietly))

    async def _remove_quietly(self, file: str) -> None:
        with suppress(SidelaneError):
            await self._remove(file)


class SaveContext:
    """Records for each asyncio task the context in which it saves files."""

    def __init__(self) -> None:
        self._current: ContextVar[SavedFiles | None] = ContextVar("saved", default=None)

    def record(self, file: str) -> None:
        """Record that this task has saved a file."""
        saved = self._current.get()
        if saved is not None:
            saved.add(file)

    @asynccontextmanager
    async def enter(self, remove: Remove) -> AsyncIterator[SavedFiles]:
        """Record the files that are saved within the context, and remove them if it raises."""
        saved, before = SavedFiles(remove), self._current.get()
        self._current.set(saved)
        try:
            yield saved
        except BaseException:
            await saved.remove()
            raise
        finally:
            self._current.set(before)
