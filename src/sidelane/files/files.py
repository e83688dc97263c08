"""Files of a lane: saving, opening, signed URLs, direct uploads, and texts that are too large for a message."""

import asyncio
import json
import logging
import math
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any, Protocol
from urllib.parse import quote

from sidelane.files import references as paths
from sidelane.files.file import CONTEXT, ID, ID_PREFIX, MAX_TYPE_LENGTH, File
from sidelane.files.media_types import OCTET_STREAM
from sidelane.files.reader import FileHandle, LocalPath
from sidelane.files.references import DAY, MAX_URL_LIFETIME, FileReferences
from sidelane.files.signed_urls import UrlGrant, UrlSigner
from sidelane.files.storage import ObjectStorage
from sidelane.files.upload import (
    HashingStream,
    SaveContext,
    SavedFiles,
    Uploaded,
    is_media_type,
    open_upload,
    sanitize_name,
)
from sidelane.model.durations import Duration, to_seconds
from sidelane.model.errors import ArgumentsError, FileTooLarge, LaneNotOpen, SidelaneError, UnknownFile, WrongFileType
from sidelane.model.json_text import dump_json

CLEANUP_INTERVAL = 3600.0
"""Minimum seconds between two cleanups that saving a file starts."""

MAX_TEXT_SIZE = 64 * 1024 * 1024
"""Maximum bytes of a text that a message links to. The text is read into memory, and other programs send the message."""

URL_KEY = "links to files"
"""Purpose of the key that signs Sidelane's own URLs."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Where and how a client uploads a file directly to the storage. `lane.files.uploaded(id)` then returns its `File`."""

    id: str
    url: str
    method: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingUpload:
    """Terms of an upload that is expected."""

    name: str
    type: str | None
    types: Sequence[str]
    max_bytes: int | None


class Client(Protocol):
    """What files need of the open store."""

    async def key(self, purpose: str) -> bytes: ...
    async def known(self, job_ids: Sequence[str]) -> set[str]: ...


class Files:
    """The files of a lane: `lane.files`. The storage is opened, and a folder is created, when a file is first saved or read.

    `location` is a folder, `s3://bucket/prefix` or `gs://bucket/prefix`; `url` is the address of the routes that serve a folder's
    files. `client` returns the client of the open store. Methods that access the storage raise `FilesUnavailable` if it cannot be
    reached or is full, `MissingExtra` if the extra `files` is not installed, and `ConfigurationError` if the location cannot be
    used, e.g. without credentials.
    """

    def __init__(self, location: str, *, url: str, client: Callable[[], Client]) -> None:
        self.location = location
        self.context: Mapping[str, Any] = {CONTEXT: self}  # makes validation bind files to this value
        self._url = url
        self._client = client
        self._urls = UrlSigner(lambda: client().key(URL_KEY))
        self._objects: ObjectStorage | None = None
        self._cleanup: asyncio.Task[None] | None = None
        self._last_cleanup = -math.inf
        self._saved = SaveContext()

    @property
    def objects(self) -> ObjectStorage:
        """The storage of the current location."""
        if self._objects is None or self._objects.location != self.location:
            self._objects = ObjectStorage(self.location)
        return self._objects

    @property
    def references(self) -> FileReferences:
        """The references of jobs to files."""
        return FileReferences(self.objects)

    @contextmanager
    def use_location(self, location: str) -> Iterator[None]:
        """Use another location within the context, for tests."""
        before, self.location = self.location, location
        try:
            yield
        finally:
            self.location = before

    async def save(
        self,
        upload: Uploaded,
        *,
        max_bytes: int | None = None,
        types: Sequence[str] = (),
        name: str | None = None,
        type: str | None = None,  # noqa: A002 - named like the field of a file
    ) -> File:
        """Save a file: a Starlette `UploadFile`, bytes, a `Path`, a binary file, or an async iterator of bytes, in constant memory.

        `types` are the accepted media types, e.g. `"audio/wav"` or `"audio/*"`, compared with the declared type and the first
        bytes. `name` and `type` override the name and type of the upload. A file that no job references within a day is removed.
        Raises `FileTooLarge`, `WrongFileType` or `ArgumentsError`; in these cases nothing is saved.
        """
        source = open_upload(upload, name, type)
        measured = HashingStream(source.chunks, max_bytes)
        kind = await measured.type(source.type, types)
        self._maybe_clean_up()
        key = secrets.token_hex(16)
        try:
            await self.references.expect(key)
            await self.objects.write(paths.content_path(key), aiter(measured), headers_of(source.name, kind))
        except BaseException:
            await self._remove(key)
            raise
        self._saved.record(key)
        return File(
            id=ID_PREFIX + key, name=source.name, type=kind, size=measured.size, sha256=measured.sha256
        ).bind_to(self)  # fmt: skip

    def remove_on_error(self) -> AbstractAsyncContextManager[SavedFiles]:
        """Return a context that, if it raises, removes the files saved within it unless a job references them.

        `jobs.respond` is such a context around an endpoint.
        """
        return self._saved.enter(self._remove_unreferenced)

    async def _remove_unreferenced(self, file: str) -> None:
        await self.references.remove(
            file
        )  # opens the storage, so not before there is a file: its package may be missing

    def bind(self, file: File) -> File:
        """Return a file from elsewhere, e.g. from a request's body, as one that can be opened."""
        return file.bind_to(self)

    def open(self, file: File) -> FileHandle:
        """Return a context manager that opens a file for reading, even one from elsewhere; see `File.open`."""
        return FileHandle(self.objects, paths.content_path(key_of(file.id)))

    def local_copy(self, file: File) -> LocalPath:
        """Return a context manager of a local path; see `File.path`."""
        return LocalPath(self.objects, paths.content_path(key_of(file.id)), sanitize_name(file.name))

    async def url(self, file: File, *, expires: Duration = 600.0) -> str:
        """Return a URL that downloads a file; see `File.url`."""
        kind = file.type if is_media_type(file.type) else OCTET_STREAM  # the file may come from anywhere
        return await self._url_of(key_of(file.id), sanitize_name(file.name), kind, checked_lifetime(expires))

    async def upload_url(
        self,
        *,
        name: str,
        type: str | None = None,  # noqa: A002 - named like the field of a file
        types: Sequence[str] = (),
        max_bytes: int | None = None,
        expires: Duration = 3600.0,
    ) -> Upload:
        """Return where a client can upload one file directly, within `expires` seconds, at most a week.

        `uploaded` checks size and type afterwards.
        """
        key, kind, lifetime = secrets.token_hex(16), type or OCTET_STREAM, checked_lifetime(expires)
        if not is_media_type(kind):
            raise ArgumentsError(
                f"type={type!r}: a media type, e.g. audio/wav, has at most {MAX_TYPE_LENGTH} characters."
            )
        pending = PendingUpload(name=sanitize_name(name), type=type, types=list(types), max_bytes=max_bytes)
        self._maybe_clean_up()
        await self.references.expect(key, lifetime)
        await self.objects.put(paths.pending_path(key), dump_json(asdict(pending)).encode())
        if self.objects.folder is None:
            url = await self.objects.signed_url("PUT", paths.upload_path(key), lifetime)
        else:
            url = await self._signed_url(
                UrlGrant(
                    verb="PUT",
                    file=key,
                    name=pending.name,
                    type=kind,
                    until=time.time() + lifetime,
                    max_bytes=max_bytes,
                )
            )
        return Upload(id=ID_PREFIX + key, url=url, method="PUT", headers={"Content-Type": kind})

    async def uploaded(self, id: str) -> File:  # noqa: A002 - named like the field of a file
        """Return the file that a client has uploaded to an `upload_url`. After that, the URL cannot change the file.

        Raises `UnknownFile` if nothing was uploaded. Raises `FileTooLarge` or `WrongFileType` after the file has been removed.
        """
        key = key_of(id)
        text = await self.objects.get(paths.pending_path(key))
        if text is None:
            raise UnknownFile(f"No upload {id} is expected, or it has expired.")
        pending = PendingUpload(**json.loads(text))
        if not await self.objects.exists(paths.content_path(key)):
            with suppress(UnknownFile):  # or a concurrent call has moved it
                await self.objects.move(paths.upload_path(key), paths.content_path(key))
        measured = HashingStream(self._content(id, key), pending.max_bytes)
        try:
            kind = await measured.type(pending.type, pending.types)
            async for _ in measured:
                pass
        except (FileTooLarge, WrongFileType):
            await self.references.remove(key)
            raise
        self._saved.record(key)
        return File(
            id=id, name=pending.name, type=kind, size=measured.size, sha256=measured.sha256
        ).bind_to(self)  # fmt: skip

    async def put_text(self, text: str, *, name: str, lifetime: float = DAY) -> str:
        """Save a text that is too large for a message, for `lifetime` seconds, at most a week, and return a link to it.

        Anyone who has the link can read the text, over HTTP or by `get_text`. The link cannot be guessed.
        """
        key, name, kind = secrets.token_hex(16), sanitize_name(name), "application/json"
        await self.references.expect(key, checked_lifetime(lifetime))
        await self.objects.put(paths.content_path(key), text.encode(), headers_of(name, kind))
        return f"{await self._url_of(key, name, kind, lifetime)}#{ID_PREFIX}{key}"

    async def get_text(self, link: str) -> str:
        """Return a text that `put_text` has saved in this location.

        Raises `UnknownFile` for every other link, without a request.
        """
        path = paths.content_path(key_of(link.rpartition("#")[2]))
        found = await self.objects.get(path) if await self.objects.size(path) <= MAX_TEXT_SIZE else None
        if found is None:
            raise UnknownFile("The text that a message links to is not in this file storage, or not any more.")
        try:
            return found.decode()
        except UnicodeDecodeError:
            raise UnknownFile("What a message links to is not text.") from None

    async def grant(self, verb: Any, token: str) -> UrlGrant:
        """Return the grant of one of Sidelane's own URLs.

        Raises `UnknownFile` if the URL is forged or has expired, or its file was removed.
        """
        grant = await self._urls.check(verb, token)
        if verb == "GET":
            await self.objects.size(paths.content_path(grant.file))
        return grant

    async def receive(self, grant: UrlGrant, chunks: AsyncIterator[bytes]) -> None:
        """Save what a client uploads to an `upload_url`. Raises `FileTooLarge` or `UnknownFile`; in both cases nothing is saved."""
        if not await self.objects.exists(paths.pending_path(grant.file)):
            raise UnknownFile("The file of this URL is gone.")
        measured = HashingStream(chunks, grant.max_bytes)
        await self.objects.write(paths.upload_path(grant.file), aiter(measured), {})

    async def tidy(self, *, everything: bool = False) -> int:
        """Remove files that no job has referenced for a day, and return the number of removed files. See `FileReferences`."""
        known = self._client().known
        return await (self.references.tidy_all(known) if everything else self.references.tidy(known))

    async def close(self) -> None:
        """Stop a cleanup that is running."""
        if self._cleanup is not None:
            self._cleanup.cancel()
            await asyncio.wait([self._cleanup])
            self._cleanup = None

    async def _remove(self, key: str) -> None:
        saved = SavedFiles(self.references.remove)
        saved.add(key)
        await saved.remove()

    async def _content(self, id_: str, key: str) -> AsyncIterator[bytes]:
        async with FileHandle(self.objects, paths.content_path(key)) as opened:
            while chunk := await opened.read(opened.chunk_size):
                yield chunk

    async def _url_of(self, key: str, name: str, kind: str, lifetime: float) -> str:
        if self.objects.folder is None:
            return await self.objects.signed_url("GET", paths.content_path(key), lifetime)
        return await self._signed_url(
            UrlGrant(verb="GET", file=key, name=name, type=kind, until=time.time() + lifetime)
        )

    async def _signed_url(self, grant: UrlGrant) -> str:
        return f"{self._url.rstrip('/')}/{await self._urls.token(grant)}"

    def _maybe_clean_up(self) -> None:
        idle = self._cleanup is None or self._cleanup.done()
        if idle and time.monotonic() - self._last_cleanup >= CLEANUP_INTERVAL:
            self._last_cleanup = time.monotonic()
            self._cleanup = asyncio.create_task(self._clean_up())

    async def _clean_up(self) -> None:
        try:
            removed = await self.tidy()
        except LaneNotOpen:  # a child process or a script: other processes clean up
            return
        except SidelaneError as error:
            logger.warning("unused files could not be removed: %s", error)
        else:
            if removed:
                logger.info("unused files were removed: %d", removed)


def key_of(file_id: str) -> str:
    """Return the 32 digits of a file's id. Raises `UnknownFile` if the text is not an id."""
    if not ID.fullmatch(file_id):
        raise UnknownFile("This is not the id of a file.")
    return file_id.removeprefix(ID_PREFIX)


def checked_lifetime(lifetime: Duration) -> float:
    """Return the lifetime of a URL. Raises `ArgumentsError` if it is out of range."""
    seconds = to_seconds(lifetime)
    if not 0 < seconds <= MAX_URL_LIFETIME:
        most = f"{MAX_URL_LIFETIME:,.0f}"
        raise ArgumentsError(f"The URL of a file is valid for more than 0 and at most {most} seconds, not {seconds}.")
    return seconds


def headers_of(name: str, type_: str) -> dict[str, str]:
    """Return the response headers of a download. These headers prevent a browser from showing the file as a page of this site."""
    return {"Content-Type": type_, "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
