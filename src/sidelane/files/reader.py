"""File readers: a stored file as a stream or as a local path, with and without an event loop."""

import asyncio
import io
import shutil
import tempfile
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from typing_extensions import Buffer

from sidelane.files.storage import ObjectStorage

CHUNK_SIZE = 4 * 1024 * 1024
"""Maximum bytes per request."""

READ_AHEAD = 1024 * 1024
"""Minimum bytes per request, so that many small reads need few requests."""


MAX_NAME_BYTES = 255
"""Maximum bytes of a file name that file systems allow."""


class FileReader:
    """An open file. `size` is its number of bytes, and `chunk_size` a suitable number of bytes for one read."""

    chunk_size = CHUNK_SIZE

    def __init__(self, objects: ObjectStorage, path: str, size: int) -> None:
        self.size = size
        self._objects = objects
        self._path = path
        self._position = 0
        self._buffer = b""  # bytes from `_buffer_start` on
        self._buffer_start = 0

    async def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes, or all remaining bytes if `size` is negative. Returns b"" at the end of the file."""
        end = self.size if size < 0 else min(self.size, self._position + size)
        found = bytearray()
        while self._position < end:
            if not self._buffer_start <= self._position < self._buffer_start + len(self._buffer):
                length = min(max(end - self._position, READ_AHEAD), CHUNK_SIZE, self.size - self._position)
                self._buffer_start, self._buffer = (
                    self._position,
                    await self._objects.read(self._path, self._position, length),
                )
            start = self._position - self._buffer_start
            found += self._buffer[start : start + end - self._position]
            self._position = self._buffer_start + min(len(self._buffer), end - self._buffer_start)
        return bytes(found)

    def seek(self, offset: int) -> None:
        """Set the position, in bytes from the beginning."""
        self._position = max(0, offset)

    def tell(self) -> int:
        """Return the position."""
        return self._position


class FileHandle(AbstractAsyncContextManager[FileReader], AbstractContextManager[BinaryIO]):
    """Context manager of an open file. `async with` returns a `FileReader`, and `with` an ordinary binary file."""

    def __init__(self, objects: ObjectStorage, path: str) -> None:
        self._objects = objects
        self._path = path
        self._opened: BinaryIO | None = None

    async def __aenter__(self) -> FileReader:
        return FileReader(self._objects, self._path, await self._objects.size(self._path))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def __enter__(self) -> BinaryIO:
        size = self._objects.size_sync(self._path)
        local = self._objects.local(self._path)
        if local is not None:
            self._opened = local.open("rb")
        else:
            self._opened = io.BufferedReader(_RangeFile(self._objects, self._path, size), READ_AHEAD)
        return self._opened

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            self._opened.close()


class _RangeFile(io.RawIOBase):
    """A binary file that is read by range requests."""

    def __init__(self, objects: ObjectStorage, path: str, size: int) -> None:
        self._objects = objects
        self._path = path
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        length = min(len(view), self._size - self._position)
        if length <= 0:
            return 0
        found = self._objects.read_sync(self._path, self._position, length)
        view[: len(found)] = found
        self._position += len(found)
        return len(found)


class LocalPath(AbstractAsyncContextManager[Path], AbstractContextManager[Path]):
    """Context manager of a local path: the stored file in a folder, otherwise a temporary copy that is deleted on exit."""

    def __init__(self, objects: ObjectStorage, path: str, name: str) -> None:
        self._objects = objects
        self._path = path
        self._name = name  # tools use its suffix
        self._folder: Path | None = None

    async def __aenter__(self) -> Path:
        size = await self._objects.size(self._path)
        local = self._objects.local(self._path)
        if local is not None:
            return local
        copy = await asyncio.to_thread(self._make_copy)
        try:
            reader = FileReader(self._objects, self._path, size)
            while chunk := await reader.read(CHUNK_SIZE):
                await asyncio.to_thread(_append, copy, chunk)
        except BaseException:
            self._delete_copy()
            raise
        return copy

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            await asyncio.to_thread(self._delete_copy)

    def __enter__(self) -> Path:
        size = self._objects.size_sync(self._path)
        local = self._objects.local(self._path)
        if local is not None:
            return local
        copy = self._make_copy()
        try:
            for start in range(0, size, CHUNK_SIZE):
                _append(copy, self._objects.read_sync(self._path, start, min(CHUNK_SIZE, size - start)))
        except BaseException:
            self._delete_copy()
            raise
        return copy

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._delete_copy()

    def _make_copy(self) -> Path:
        self._folder = Path(tempfile.mkdtemp(prefix="sidelane-file-"))
        copy = self._folder / _shorten(self._name.replace("/", "_").strip(".") or "file")
        copy.touch()
        return copy

    def _delete_copy(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _shorten(name: str) -> str:
    """Shorten a name to the length that file systems allow, but keep its suffix, which tools use."""
    suffix = Path(name).suffix.encode()[:32].decode(errors="ignore")
    return name.removesuffix(suffix).encode()[: MAX_NAME_BYTES - len(suffix.encode())].decode(errors="ignore") + suffix


def _append(file: Path, chunk: bytes) -> None:
    with file.open("ab") as opened:
        opened.write(chunk)
