"""Object storage: one interface to a folder, S3 and Google Cloud Storage."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from sidelane.model.errors import ConfigurationError, FilesUnavailable, MissingExtra, UnknownFile

PART_SIZE, FOLDER_PART_SIZE = 5 * 1024 * 1024, 1024 * 1024
MAX_CONCURRENT = 1
"""Bytes of a part of a stream (S3 accepts no smaller parts), and parts written concurrently.

Both determine the memory of an upload.
"""

NO_HEADERS: Mapping[str, str] = MappingProxyType({})

PAGE = 1000
"""Objects per request of a list."""

RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
"""Retries of a request. There are few, because a caller waits, and an early error is better than a late answer."""

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")

DISK_FULL = ("(os error 27)", "(os error 28)", "(os error 122)")
NOT_WRITABLE = ("(os error 13)", "(os error 20)", "(os error 30)")
BAD_CREDENTIALS = (
    "/latest/api/token", "/latest/meta-data", "/computeMetadata/", "InvalidAccessKeyId", "SignatureDoesNotMatch",
)  # fmt: skip
NO_BUCKET = ("NoSuchBucket", "bucket does not exist")
"""Parts of error texts: a full disk; no folder, or a read-only one; missing or wrong credentials; a missing bucket."""

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object in a list. `age` is the seconds since it was written."""

    path: str
    size: int
    age: float


class ObjectStorage:
    """Objects in one location.

    Methods raise `FilesUnavailable` if the storage cannot be reached or is full, and `ConfigurationError` if the configuration is
    wrong.

    `location` is a folder, `s3://bucket/prefix` or `gs://bucket/prefix`. Credentials and endpoint come from the environment
    variables that obstore and the clouds' own tools read. Raises `MissingExtra` if the extra `files` is not installed.
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
        """Return the local path of an object; None unless the location is a folder."""
        return None if self.folder is None else self.folder / path

    async def write(self, path: str, chunks: AsyncIterator[bytes], headers: Mapping[str, str]) -> None:
        """Write a stream. If the stream raises or the write is cancelled, no part of the object remains.

        `headers` are the response headers of later downloads, if the location supports them.
        """
        first, second = await anext(chunks, b""), await anext(chunks, None)
        if second is None:
            await self.put(path, first, headers)
            return
        parts = _Parts()
        writing = asyncio.ensure_future(self._put(path, parts, headers))
        try:
            await parts.put(first, writing)
            await parts.put(second, writing)
            async for chunk in chunks:
                await parts.put(chunk, writing)
            await parts.put(None, writing)
            await writing
        except BaseException:
            await parts.stop(writing)
            raise

    async def put(self, path: str, content: bytes = b"", headers: Mapping[str, str] = NO_HEADERS) -> None:
        """Write a small object, or overwrite an existing object. A cancellation takes effect after the write."""
        await finish_before_cancelling(self._put(path, content, headers))

    async def _put(self, path: str, content: "bytes | _Parts", headers: Mapping[str, str]) -> None:
        with self._translated_errors(path):
            await self._obstore.put_async(
                self._opened(), path, content, attributes=None if self.folder else dict(headers),
                chunk_size=PART_SIZE if self.folder is None else FOLDER_PART_SIZE, max_concurrency=MAX_CONCURRENT,
            )  # fmt: skip
            await asyncio.to_thread(self._sync, path)

    async def size(self, path: str) -> int:
        """Return the bytes of an object. Raises `UnknownFile`."""
        with self._translated_errors(path):
            return int((await self._obstore.head_async(self._opened(), path))["size"])

    def size_sync(self, path: str) -> int:
        """Return the bytes of an object, without an event loop."""
        with self._translated_errors(path):
            return int(self._obstore.head(self._opened(), path)["size"])

    async def exists(self, path: str) -> bool:
        """Return whether an object exists."""
        try:
            await self.size(path)
        except UnknownFile:
            return False
        return True

    async def read(self, path: str, start: int, length: int) -> bytes:
        """Read a part of an object, at least one byte. Raises `UnknownFile`."""
        with self._translated_errors(path):
            return bytes(await self._obstore.get_range_async(self._opened(), path, start=start, length=length))

    def read_sync(self, path: str, start: int, length: int) -> bytes:
        """Read a part of an object, without an event loop."""
        with self._translated_errors(path):
            return bytes(self._obstore.get_range(self._opened(), path, start=start, length=length))

    async def get(self, path: str) -> bytes | None:
        """Return a small object, or None if it does not exist."""
        with self._translated_errors(path):
            try:
                return bytes(await (await self._obstore.get_async(self._opened(), path)).bytes_async())
            except FileNotFoundError as error:
                self._raise_unless_missing(error)
                return None

    async def delete(self, paths: Iterable[str]) -> None:
        """Delete objects. Missing objects are ignored."""
        await asyncio.gather(*(self._delete(path) for path in paths))

    async def move(self, path: str, to: str) -> None:
        """Move an object to another path. Raises `UnknownFile`."""
        with self._translated_errors(path):
            await self._obstore.rename_async(self._opened(), path, to)
            await asyncio.to_thread(self._sync, to)

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """Yield the objects under a path, in no order."""
        now = time.time()
        with self._translated_errors(prefix):
            async for page in self._obstore.list(self._opened(), prefix, chunk_size=PAGE):
                for found in page:
                    yield ObjectInfo(found["path"], found["size"], now - found["last_modified"].timestamp())

    async def signed_url(self, method: Literal["GET", "PUT"], path: str, expires: float) -> str:
        """Return a URL that allows this request for `expires` seconds."""
        with self._translated_errors(path):
            return str(await self._obstore.sign_async(self._opened(), method, path, timedelta(seconds=expires)))

    async def delete_incomplete(self, older: float) -> None:
        """Delete incomplete uploads in a folder that are older than this many seconds.

        For a bucket, a lifecycle rule does this: AbortIncompleteMultipartUpload.
        """
        if self.folder is not None:
            await asyncio.to_thread(_delete_incomplete, self.folder, time.time() - older)

    async def _delete(self, path: str) -> None:
        with self._translated_errors(path):
            try:
                await self._obstore.delete_async(self._opened(), path)
            except FileNotFoundError as error:
                self._raise_unless_missing(error)

    def _opened(self) -> Any:
        """Return the store, opened at its first use."""
        if self._store is None:
            from obstore import store

            if self.folder is not None:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # for its owner alone; an existing one stays
                self._store = store.LocalStore(self.folder, automatic_cleanup=True)
            else:
                allow_http = any(os.environ.get(name, "").startswith("http://") for name in ENDPOINTS)
                self._store = store.from_url(
                    self.location, retry_config=RETRIES, client_options={"allow_http": allow_http}
                )  # fmt: skip
        return self._store

    def _sync(self, path: str) -> None:
        """Sync a file in a folder, and new folders above it, so that it survives a power cut. Only its owner may read it."""
        if self.folder is None:
            return
        written = self.folder / path
        for each in (written, *written.parents):
            with suppress(FileNotFoundError):  # deleted meanwhile
                descriptor = os.open(each, os.O_RDONLY)
                try:
                    if each != self.folder:
                        _make_private(descriptor, 0o600 if each == written else 0o700)
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            if each == self.folder:
                return

    @contextmanager
    def _translated_errors(self, path: str) -> Iterator[None]:
        """Raise Sidelane's own errors instead of the driver's."""
        from obstore import exceptions

        try:
            yield
        except FileNotFoundError as error:
            self._raise_unless_missing(error)
            raise UnknownFile(f"There is no file {path.rpartition('/')[2]}.") from error
        except (exceptions.BaseError, OSError) as error:
            raise self._translate(error) from error

    def _raise_unless_missing(self, error: FileNotFoundError) -> None:
        """Raise `ConfigurationError` if the bucket is missing rather than the object."""
        if any(sign in str(error) for sign in NO_BUCKET):
            raise self._translate(error) from error

    def _translate(self, error: Exception) -> FilesUnavailable | ConfigurationError:
        from obstore import exceptions

        text = str(error)
        message = text.partition("\n")[0]
        setting = f"SIDELANE_FILE_STORAGE is {self.location!r}"
        if any(sign in text for sign in NO_BUCKET):
            return ConfigurationError(f"{setting}, and this bucket does not exist.")
        if isinstance(error, exceptions.UnauthenticatedError) or any(sign in text for sign in BAD_CREDENTIALS):
            return ConfigurationError(
                f"{setting}, and its credentials are missing or wrong: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                f"GOOGLE_APPLICATION_CREDENTIALS, or give the machine a role. ({message})"
            )
        if isinstance(error, exceptions.PermissionDeniedError | PermissionError | NotADirectoryError | FileExistsError):
            return ConfigurationError(f"{setting}, and this program has no permission for it: {message}")
        if any(sign in text for sign in NOT_WRITABLE):
            return ConfigurationError(f"{setting}, which cannot be written to: {message}")
        if "Unable to recognise URL" in text:
            return ConfigurationError(f"{setting}: use a folder, s3://bucket/prefix or gs://bucket/prefix.")
        if any(sign in text for sign in DISK_FULL):
            return FilesUnavailable(f"{setting}, and it is full: {message}")
        return FilesUnavailable(f"{setting}, which cannot be reached at the moment: {message}")


class _Parts:
    """Passes the parts of a stream to the writer through a queue. After an error, the writer cleans up.

    obstore cannot clean up if its own task is cancelled or if it reads a stream that raises.
    """

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue(1)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (part := await self._queue.get()) is not None:
            if isinstance(part, BaseException):
                raise part
            yield part

    async def put(self, part: bytes | None, writing: "asyncio.Future[None]") -> None:
        """Queue the next part, or None at the end. Raises the writer's error if it has failed."""
        if not self._queue.full():
            self._queue.put_nowait(part)
            return
        queued = asyncio.ensure_future(self._queue.put(part))
        await asyncio.wait({queued, writing}, return_when=asyncio.FIRST_COMPLETED)
        if not queued.done():
            queued.cancel()
            await writing

    async def stop(self, writing: "asyncio.Future[None]") -> None:
        """End the stream with an error, and wait until the writer has cleaned up."""
        if not writing.done():
            while not self._queue.empty():
                self._queue.get_nowait()
            self._queue.put_nowait(EOFError("the stream ended early"))
            await asyncio.wait({writing})
        if not writing.cancelled():
            writing.exception()  # mark it as retrieved


def _make_private(descriptor: int, mode: int) -> None:
    """Set the mode of an open file or folder, unless it belongs to another user."""
    if os.fstat(descriptor).st_mode & 0o777 != mode:
        with suppress(PermissionError):
            os.fchmod(descriptor, mode)


def _delete_incomplete(folder: Path, before: float) -> None:
    for part in folder.rglob("*#*"):  # the names of incomplete files
        with suppress(FileNotFoundError):
            if part.is_file() and part.stat().st_mtime < before:
                part.unlink()


async def finish_in_background(work: Coroutine[Any, Any, R]) -> R:
    """Wait for some work. A cancellation takes effect immediately, and the work continues."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # mark it as retrieved
        raise


async def finish_before_cancelling(work: Coroutine[Any, Any, R]) -> R:
    """Wait for some short work. A cancellation takes effect after the work, so that its effect can be undone."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # mark it as retrieved
        raise
