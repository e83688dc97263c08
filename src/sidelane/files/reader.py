"""Reading a file: as a stream, or as a local path, on the event loop and without one."""

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
"""Bytes that are asked for at one go when all of a file is read."""

AHEAD = 1024 * 1024
"""Bytes that are asked for at least, so that many small reads are few requests."""


LONGEST = 255
"""Bytes of a file's name."""


class FileReader:
    """An open file. `size` is how many bytes it has, `piece` how many are well read at one go."""

    piece = CHUNK_SIZE

    def __init__(self, objects: ObjectStorage, path: str, size: int) -> None:
        self.size = size
        self._objects = objects
        self._path = path
        self._at = 0
        self._held = b""  # what was read ahead, from `_held_at` on
        self._held_at = 0

    async def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes from here on, all that are left where it is below 0; none are left where it gives none."""
        end = self.size if size < 0 else min(self.size, self._at + size)
        found = bytearray()
        while self._at < end:
            if not self._held_at <= self._at < self._held_at + len(self._held):
                length = min(max(end - self._at, AHEAD), CHUNK_SIZE, self.size - self._at)
                self._held_at, self._held = self._at, await self._objects.read(self._path, self._at, length)
            start = self._at - self._held_at
            found += self._held[start : start + end - self._at]
            self._at = self._held_at + min(len(self._held), end - self._held_at)
        return bytes(found)

    def seek(self, offset: int) -> None:
        """Go to this byte, from the beginning."""
        self._at = max(0, offset)

    def tell(self) -> int:
        """Say at which byte it is."""
        return self._at


class FileHandle(AbstractAsyncContextManager[FileReader], AbstractContextManager[BinaryIO]):
    """A file to be opened: `async with` gives a `Reader`; `with`, for code without an event loop, an ordinary binary file."""

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
        size = self._objects.size_now(self._path)
        local = self._objects.local(self._path)
        if local is not None:
            self._opened = local.open("rb")
        else:
            self._opened = io.BufferedReader(_Ranges(self._objects, self._path, size), AHEAD)
        return self._opened

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            self._opened.close()


class _Ranges(io.RawIOBase):
    """A binary file that is read by ranges."""

    def __init__(self, objects: ObjectStorage, path: str, size: int) -> None:
        self._objects = objects
        self._path = path
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        length = min(len(view), self._size - self._at)
        if length <= 0:
            return 0
        found = self._objects.read_now(self._path, self._at, length)
        view[: len(found)] = found
        self._at += len(found)
        return len(found)


class LocalPath(AbstractAsyncContextManager[Path], AbstractContextManager[Path]):
    """A file to be had as a local path: its own where it lies in a folder, else that of a copy, which goes with the block."""

    def __init__(self, objects: ObjectStorage, path: str, name: str) -> None:
        self._objects = objects
        self._path = path
        self._name = name  # tools go by its ending
        self._folder: Path | None = None

    async def __aenter__(self) -> Path:
        size = await self._objects.size(self._path)
        local = self._objects.local(self._path)
        if local is not None:
            return local
        copy = await asyncio.to_thread(self._make)
        try:
            reader = FileReader(self._objects, self._path, size)
            while chunk := await reader.read(CHUNK_SIZE):
                await asyncio.to_thread(_append, copy, chunk)
        except BaseException:
            self._remove()
            raise
        return copy

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            await asyncio.to_thread(self._remove)

    def __enter__(self) -> Path:
        size = self._objects.size_now(self._path)
        local = self._objects.local(self._path)
        if local is not None:
            return local
        copy = self._make()
        try:
            for start in range(0, size, CHUNK_SIZE):
                _append(copy, self._objects.read_now(self._path, start, min(CHUNK_SIZE, size - start)))
        except BaseException:
            self._remove()
            raise
        return copy

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _make(self) -> Path:
        self._folder = Path(tempfile.mkdtemp(prefix="sidelane-file-"))
        copy = self._folder / _fitting(self._name.replace("/", "_").strip(".") or "file")
        copy.touch()
        return copy

    def _remove(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _fitting(name: str) -> str:
    """Cut a name to what file systems take, without its ending, which tools go by."""
    ending = Path(name).suffix.encode()[:32].decode(errors="ignore")
    return name.removesuffix(ending).encode()[: LONGEST - len(ending.encode())].decode(errors="ignore") + ending


def _append(file: Path, chunk: bytes) -> None:
    with file.open("ab") as opened:
        opened.write(chunk)
