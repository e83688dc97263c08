"""What comes in: uploads of any form as one stream, counted and hashed on the way."""

import asyncio
import hashlib
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from sidelane.files.file import MAX_NAME_LENGTH, MAX_TYPE_LENGTH
from sidelane.files.media_types import HEAD, checked_type
from sidelane.model.errors import ArgumentsError, FileTooLarge

CHUNK_SIZE = 256 * 1024
"""Bytes that are taken in at one go."""

_UNFIT = re.compile(r"[\x00-\x1f\x7f/\\]+")

_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(;[\x20-\x7e]*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class UploadSource:
    """An upload: its bytes, and what is said of it."""

    chunks: AsyncIterator[bytes]
    name: str
    type: str | None


class ReadableUpload(Protocol):
    """What is read piece by piece, by a method that may be asynchronous: a Starlette `UploadFile`, a binary file."""

    def read(self, size: int = ..., /) -> bytes | Awaitable[bytes]: ...


Uploaded = bytes | bytearray | memoryview | Path | AsyncIterator[bytes] | ReadableUpload
"""What can be saved."""


def incoming(upload: Any, name: str | None, type_: str | None) -> UploadSource:
    """Read an upload: a Starlette `UploadFile`, bytes, a `Path`, a binary file, or an async iterator of bytes.

    Raises `ArgumentsError` on anything else.
    """
    said_name, said_type = getattr(upload, "filename", None), getattr(upload, "content_type", None)
    match upload:
        case bytes() | bytearray() | memoryview():
            chunks = _once(bytes(upload))
        case Path():  # not str: what a form holds where a file was expected is a text of the client's
            said_name, chunks = upload.name, _from_path(upload)
        case AsyncIterator():
            chunks = upload
        case _ if inspect.iscoroutinefunction(getattr(upload, "read", None)):
            chunks = _from_reading(upload)
        case _ if callable(getattr(upload, "read", None)):
            said_name, chunks = said_name or getattr(upload, "name", None), _from_file(upload)
        case _:
            raise ArgumentsError(
                f"{type(upload).__name__}: what is saved is an UploadFile, bytes, a Path, a binary file, or an async iterator of "
                "bytes, such as request.stream()."
            )
    said = type_ or said_type
    return UploadSource(chunks, sanitize_name(name or said_name), said if said and sanitize_type(said) else None)


def sanitize_name(name: object) -> str:
    """Give the name of a file without what a name cannot have: folders, control characters, too many letters."""
    last = str(name or "").replace("\\", "/").rstrip("/").rpartition("/")[2]
    return _UNFIT.sub("", last[: MAX_NAME_LENGTH * 4])[:MAX_NAME_LENGTH] or "file"


def sanitize_type(text: str) -> bool:
    """Tell whether a text may be a media type."""
    return len(text) <= MAX_TYPE_LENGTH and _TYPE.fullmatch(text) is not None


class HashingStream:
    """A stream on its way in: cut into pieces, its beginning looked at, its bytes counted and hashed."""

    def __init__(self, chunks: AsyncIterator[bytes], most: int | None) -> None:
        self._chunks = chunks
        self._most = most
        self._digest = hashlib.sha256()
        self._head: bytes | None = None
        self.size = 0

    @property
    def sha256(self) -> str:
        """The hash of what has passed."""
        return self._digest.hexdigest()

    async def type(self, declared: str | None, wanted: Sequence[str]) -> str:
        """Decide on its type, before it passes. Raises `WrongFileType`, `FileTooLarge`."""
        self._head = await self._piece()
        return checked_type(self._head[:HEAD], declared, wanted)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Let it pass. Raises `FileTooLarge` with the first byte that is too many."""
        piece = await self._piece() if self._head is None else self._head
        while piece:
            await asyncio.to_thread(self._digest.update, piece)
            yield piece
            piece = await self._piece()

    async def _piece(self) -> bytes:
        """Give the next bytes, about a piece of them; none at the end."""
        found: list[bytes] = []
        size = 0
        while size < CHUNK_SIZE and (chunk := await anext(self._chunks, None)) is not None:
            found.append(chunk)
            size += len(chunk)
            self.size += len(chunk)
            if self._most is not None and self.size > self._most:
                raise FileTooLarge(f"The file has more than {self._most:,} bytes, which is the limit here.")
        return found[0] if len(found) == 1 else b"".join(found)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), CHUNK_SIZE):
        yield content[start : start + CHUNK_SIZE]


async def _from_reading(upload: Any) -> AsyncIterator[bytes]:
    while chunk := await upload.read(CHUNK_SIZE):
        yield chunk


async def _from_file(file: BinaryIO) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, CHUNK_SIZE):
        if not isinstance(chunk, bytes):
            raise ArgumentsError(f"{file!r} gives text: open it in binary mode.")
        yield chunk


async def _from_path(path: Path) -> AsyncIterator[bytes]:
    opened: Callable[..., Any] = path.open
    file = await asyncio.to_thread(opened, "rb")
    try:
        async for chunk in _from_file(file):
            yield chunk
    finally:
        file.close()
