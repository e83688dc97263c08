"""Object storage: a folder, S3 or Google Cloud Storage, behind the few verbs that files need."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from sidelane.files.uncancellable import before_it_is_cancelled
from sidelane.model.errors import ConfigurationError, FilesUnavailable, MissingExtra, UnknownFile

PART, PART_OF_FOLDER = 5 * 1024 * 1024, 1024 * 1024
MAX_CONCURRENT = 1
"""A stream is written in parts of so many bytes (S3 takes no smaller ones), so many at once while the next one comes in: that is
the memory an upload takes."""

NO_HEADERS: Mapping[str, str] = MappingProxyType({})

PAGE = 1000
"""How many objects a list asks for at one go."""

RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
"""A caller waits: better an error soon than an answer in minutes."""

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")

NO_ROOM = ("(os error 27)", "(os error 28)", "(os error 122)")
NO_WAY = ("(os error 13)", "(os error 20)", "(os error 30)")
NO_CREDENTIALS = (
    "/latest/api/token", "/latest/meta-data", "/computeMetadata/", "InvalidAccessKeyId", "SignatureDoesNotMatch",
)  # fmt: skip
NO_BUCKET = ("NoSuchBucket", "bucket does not exist")
"""What errors say of a full disk; of a folder that is none, or read-only; of credentials, missing or wrong; of a missing bucket."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object in a list; `age` is in seconds since it was written."""

    path: str
    size: int
    age: float


class ObjectStorage:
    """One place for objects. All verbs raise `FilesUnavailable`, and `ConfigurationError` where it cannot work as it is set up.

    `location` is a folder, or `s3://bucket/prefix`, `gs://bucket/prefix`, for which credentials and endpoint come from the
    variables that obstore and the clouds' own tools know. Raises `MissingExtra`.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        self.folder = None if "://" in location else Path(location)
        try:
            import obstore
        except ModuleNotFoundError as error:
            raise MissingExtra("Files need the package obstore: pip install 'sidelane[files]'.") from error
        self._obstore = obstore
        self._store: Any = None

    def local(self, path: str) -> Path | None:
        """Say where an object lies on this machine, if it does."""
        return None if self.folder is None else self.folder / path

    async def write(self, path: str, chunks: AsyncIterator[bytes], headers: Mapping[str, str]) -> None:
        """Write a stream. Whatever ends it early, an error in it or being cancelled too, leaves nothing behind.

        `headers` are what whoever downloads it is told, where the place can.
        """
        first, second = await anext(chunks, b""), await anext(chunks, None)
        if second is None:
            await self.put(path, first, headers)
            return
        parts = _Parts()
        putting = asyncio.ensure_future(self._put(path, parts, headers))
        try:
            await parts.give(first, putting)
            await parts.give(second, putting)
            async for chunk in chunks:
                await parts.give(chunk, putting)
            await parts.give(None, putting)
            await putting
        except BaseException:
            await parts.stop(putting)
            raise

    async def put(self, path: str, content: bytes = b"", headers: Mapping[str, str] = NO_HEADERS) -> None:
        """Write a small object, over what was there. Where this is cancelled, it is written before that ends."""
        await before_it_is_cancelled(self._put(path, content, headers))

    async def _put(self, path: str, content: "bytes | _Parts", headers: Mapping[str, str]) -> None:
        with self._explained(path):
            await self._obstore.put_async(
                self._opened(), path, content, attributes=None if self.folder else dict(headers),
                chunk_size=PART if self.folder is None else PART_OF_FOLDER, max_concurrency=MAX_CONCURRENT,
            )  # fmt: skip
            await asyncio.to_thread(self._sync, path)

    async def size(self, path: str) -> int:
        """Say how many bytes an object has. Raises `UnknownFile`."""
        with self._explained(path):
            return int((await self._obstore.head_async(self._opened(), path))["size"])

    def size_now(self, path: str) -> int:
        """Say it to code without an event loop."""
        with self._explained(path):
            return int(self._obstore.head(self._opened(), path)["size"])

    async def has(self, path: str) -> bool:
        """Tell whether an object is there."""
        try:
            await self.size(path)
        except UnknownFile:
            return False
        return True

    async def read(self, path: str, start: int, length: int) -> bytes:
        """Read a part of an object, at least one byte. Raises `UnknownFile`."""
        with self._explained(path):
            return bytes(await self._obstore.get_range_async(self._opened(), path, start=start, length=length))

    def read_now(self, path: str, start: int, length: int) -> bytes:
        """Read it for code without an event loop."""
        with self._explained(path):
            return bytes(self._obstore.get_range(self._opened(), path, start=start, length=length))

    async def get(self, path: str) -> bytes | None:
        """Read a small object, if it is there."""
        with self._explained(path):
            try:
                return bytes(await (await self._obstore.get_async(self._opened(), path)).bytes_async())
            except FileNotFoundError as error:
                self._raise_unless_missing(error)
                return None

    async def delete(self, paths: Iterable[str]) -> None:
        """Remove objects; those that are not there need nothing."""
        await asyncio.gather(*(self._delete(path) for path in paths))

    async def move(self, path: str, to: str) -> None:
        """Give an object another path. Raises `UnknownFile`."""
        with self._explained(path):
            await self._obstore.rename_async(self._opened(), path, to)
            await asyncio.to_thread(self._sync, to)

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """List what lies under a path, in no order."""
        now = time.time()
        with self._explained(prefix):
            async for page in self._obstore.list(self._opened(), prefix, chunk_size=PAGE):
                for found in page:
                    yield ObjectInfo(found["path"], found["size"], now - found["last_modified"].timestamp())

    async def link(self, method: Literal["GET", "PUT"], path: str, expires: float) -> str:
        """Sign a link that does this with an object, for `expires` seconds."""
        with self._explained(path):
            return str(await self._obstore.sign_async(self._opened(), method, path, timedelta(seconds=expires)))

    async def clear(self, older: float) -> None:
        """Remove what uploads that were killed have left in a folder, where it is older than so many seconds.

        In a bucket that is for a lifecycle rule: AbortIncompleteMultipartUpload.
        """
        if self.folder is not None:
            await asyncio.to_thread(_clear, self.folder, time.time() - older)

    async def _delete(self, path: str) -> None:
        with self._explained(path):
            try:
                await self._obstore.delete_async(self._opened(), path)
            except FileNotFoundError as error:
                self._raise_unless_missing(error)

    def _opened(self) -> Any:
        """Open it when it is first used; nothing is made or asked for before."""
        if self._store is None:
            from obstore import store

            if self.folder is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._store = store.LocalStore(self.folder, automatic_cleanup=True)
            else:
                plain = any(os.environ.get(name, "").startswith("http://") for name in ENDPOINTS)
                self._store = store.from_url(
                    self.location, retry_config=RETRIES, client_options={"allow_http": plain}
                )  # fmt: skip
        return self._store

    def _sync(self, path: str) -> None:
        """See to it that what was written to a folder survives a power cut, with the folders that may have come with it."""
        if self.folder is None:
            return
        written = self.folder / path
        for place in (written, *written.parents):
            with suppress(FileNotFoundError):  # removed meanwhile
                descriptor = os.open(place, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            if place == self.folder:
                return

    @contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        """Say what went wrong in our own errors."""
        from obstore import exceptions

        try:
            yield
        except FileNotFoundError as error:
            self._raise_unless_missing(error)
            raise UnknownFile(f"There is no file {path.rpartition('/')[2]}.") from error
        except (exceptions.BaseError, OSError) as error:
            raise self._explanation(error) from error

    def _raise_unless_missing(self, error: FileNotFoundError) -> None:
        """Raise `ConfigurationError` where it is the bucket that is missing, not the object."""
        if any(sign in str(error) for sign in NO_BUCKET):
            raise self._explanation(error) from error

    def _explanation(self, error: Exception) -> FilesUnavailable | ConfigurationError:
        from obstore import exceptions

        whole = str(error)
        words = whole.partition("\n")[0]
        named = f"SIDELANE_FILE_STORAGE is {self.location!r}"
        if any(sign in whole for sign in NO_BUCKET):
            return ConfigurationError(f"{named}, and there is no such bucket.")
        if isinstance(error, exceptions.UnauthenticatedError) or any(sign in whole for sign in NO_CREDENTIALS):
            return ConfigurationError(
                f"{named}, and there are no credentials for it, or wrong ones: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                f"GOOGLE_APPLICATION_CREDENTIALS, or give the machine a role. ({words})"
            )
        if isinstance(error, exceptions.PermissionDeniedError | PermissionError | NotADirectoryError | FileExistsError):
            return ConfigurationError(f"{named}, and this program may not use it so: {words}")
        if any(sign in whole for sign in NO_WAY):
            return ConfigurationError(f"{named}, which cannot be written to: {words}")
        if "Unable to recognise URL" in whole:
            return ConfigurationError(f"{named}: this is a folder, s3://bucket/prefix or gs://bucket/prefix.")
        if any(sign in whole for sign in NO_ROOM):
            return FilesUnavailable(f"{named}, and it is full: {words}")
        return FilesUnavailable(f"{named}, which cannot be reached at the moment: {words}")


class _Parts:
    """The parts of a stream on their way from whoever reads it to what writes it, which undoes its work when they end in an error.

    Were it cancelled, or let to read the stream itself, it could not.
    """

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue(1)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (part := await self._waiting.get()) is not None:
            if isinstance(part, BaseException):
                raise part
            yield part

    async def give(self, part: bytes | None, putting: "asyncio.Future[None]") -> None:
        """Hand over the next part, or the end; where the writing has failed meanwhile, raise what it failed with."""
        if not self._waiting.full():
            self._waiting.put_nowait(part)
            return
        giving = asyncio.ensure_future(self._waiting.put(part))
        await asyncio.wait({giving, putting}, return_when=asyncio.FIRST_COMPLETED)
        if not giving.done():
            giving.cancel()
            await putting

    async def stop(self, putting: "asyncio.Future[None]") -> None:
        """End in an error, and wait until what was written is undone."""
        if not putting.done():
            while not self._waiting.empty():
                self._waiting.get_nowait()
            self._waiting.put_nowait(EOFError("the stream ended early"))
            await asyncio.wait({putting})
        if not putting.cancelled():
            putting.exception()  # it has been looked at


def _clear(folder: Path, before: float) -> None:
    for part in folder.rglob("*#*"):  # how unfinished files are called
        with suppress(FileNotFoundError):
            if part.is_file() and part.stat().st_mtime < before:
                part.unlink()
