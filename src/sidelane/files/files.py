"""The files of a lane: saving, opening, links, uploads past the API, texts too large for a message."""

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

from sidelane.files import references
from sidelane.files.file import CONTEXT, ID, ID_PREFIX, MAX_TYPE_LENGTH, File
from sidelane.files.media_types import ANYTHING
from sidelane.files.reader import FileHandle, LocalPath
from sidelane.files.references import DAY, MAX_URL_LIFETIME, FileReferences
from sidelane.files.request_uploads import Saved, Saving
from sidelane.files.signed_urls import UrlGrant, UrlSigner
from sidelane.files.storage import ObjectStorage
from sidelane.files.upload import HashingStream, Uploaded, incoming, sanitize_name, sanitize_type
from sidelane.model.errors import ArgumentsError, FileTooLarge, LaneNotOpen, SidelaneError, UnknownFile, WrongFileType

CLEANUP_INTERVAL = 3600.0
"""Seconds after which saving a file starts another look at those that are left over."""

MAX_TEXT_SIZE = 64 * 1024 * 1024
"""Bytes of a text that a message points to: it is read into memory, and others say which."""

LINKS = "links to files"
"""What the key is for that our own links are signed by."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Where and how a client uploads a file past the API. `lane.files.uploaded(id)` makes a `File` of it then."""

    id: str
    url: str
    method: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingUpload:
    """What was agreed on an upload that is to come."""

    name: str
    type: str | None
    types: Sequence[str]
    most: int | None


class Client(Protocol):
    """What files ask of the open store."""

    async def key(self, purpose: str) -> bytes: ...
    async def known(self, job_ids: Sequence[str]) -> set[str]: ...


class Files:
    """The files of a lane: `lane.files`. Nothing is opened, nor a folder made, before the first file.

    `location` is a folder, or `s3://bucket/prefix`, `gs://bucket/prefix`; `url` is where the routes of a folder's files are.
    `client` gives the open store. All methods raise `FilesUnavailable`, `MissingExtra`, and `ConfigurationError` where the place
    cannot be used: no such bucket, no credentials.
    """

    def __init__(self, location: str, *, url: str, client: Callable[[], Client]) -> None:
        self.location = location
        self.context: Mapping[str, Any] = {CONTEXT: self}  # what validation binds files by
        self._url = url
        self._client = client
        self._links = UrlSigner(lambda: client().key(LINKS))
        self._objects: ObjectStorage | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._tidied = -math.inf
        self._saving = Saving()

    @property
    def objects(self) -> ObjectStorage:
        """Where they are kept."""
        if self._objects is None or self._objects.location != self.location:
            self._objects = ObjectStorage(self.location)
        return self._objects

    @property
    def holds(self) -> FileReferences:
        """Who holds which of them."""
        return FileReferences(self.objects)

    @contextmanager
    def kept_in(self, location: str) -> Iterator[None]:
        """Keep them elsewhere for a while, for tests."""
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
        """Keep a file: a Starlette `UploadFile`, bytes, a `Path`, a binary file, or an async iterator of bytes, in constant memory.

        `types` are those that are taken, `"audio/wav"` or `"audio/*"`, judged by what the upload says of itself and by its first
        bytes; `name` and `type` are used instead of what it says. What no job has come to hold within a day is removed.
        Raises `FileTooLarge`, `WrongFileType`, `ArgumentsError`; nothing is left behind then.
        """
        source = incoming(upload, name, type)
        measured = HashingStream(source.chunks, max_bytes)
        kind = await measured.type(source.type, types)
        self._tidy_now_and_then()
        key = secrets.token_hex(16)
        try:
            await self.holds.expect(key)
            await self.objects.write(references.content(key), aiter(measured), headers_of(source.name, kind))
        except BaseException:
            await self._removed(key)
            raise
        self._saving.note(key)
        return File(
            id=ID_PREFIX + key, name=source.name, type=kind, size=measured.size, sha256=measured.sha256
        ).bound(self)  # fmt: skip

    def kept_on_success(self) -> AbstractAsyncContextManager[Saved]:
        """Remove what is saved or taken in within this block, and no job holds, where the block raises.

        `jobs.respond` is such a block around an endpoint.
        """
        return self._saving.block(self.holds.remove)

    def bind(self, file: File) -> File:
        """Give a file that came from elsewhere, a request's body say, as one that can be opened."""
        return file.bound(self)

    def open(self, file: File) -> FileHandle:
        """Open a file, also one that came from elsewhere."""
        return self.opening(file)

    def opening(self, file: File) -> FileHandle:
        """Open a file for reading; see `File.open`."""
        return FileHandle(self.objects, references.content(key_of(file.id)))

    def local_copy(self, file: File) -> LocalPath:
        """Have a file as a local path; see `File.path`."""
        return LocalPath(self.objects, references.content(key_of(file.id)), sanitize_name(file.name))

    async def url(self, file: File, *, expires: float = 600.0) -> str:
        """Make a link that downloads a file; see `File.url`."""
        kind = file.type if sanitize_type(file.type) else ANYTHING  # it may have come from anybody
        return await self._link(key_of(file.id), sanitize_name(file.name), kind, checked_time(expires))

    async def upload_url(
        self,
        *,
        name: str,
        type: str | None = None,  # noqa: A002 - named like the field of a file
        types: Sequence[str] = (),
        max_bytes: int | None = None,
        expires: float = 3600.0,
    ) -> Upload:
        """Say where a client may put one file itself, past the API, within `expires` seconds, a week at most.

        Size and type are checked when it has: by `uploaded`.
        """
        key, kind, until = secrets.token_hex(16), type or ANYTHING, checked_time(expires)
        if not sanitize_type(kind):
            raise ArgumentsError(f"type={type!r}: a media type has at most {MAX_TYPE_LENGTH} characters: audio/wav.")
        agreed = PendingUpload(name=sanitize_name(name), type=type, types=list(types), most=max_bytes)
        self._tidy_now_and_then()
        await self.holds.expect(key, until)
        await self.objects.put(references.note(key), json.dumps(asdict(agreed)).encode())
        if self.objects.folder is None:
            url = await self.objects.link("PUT", references.incoming(key), until)
        else:
            url = await self._own_link(
                UrlGrant(verb="PUT", file=key, name=agreed.name, type=kind, until=time.time() + until, most=max_bytes)
            )
        return Upload(id=ID_PREFIX + key, url=url, method="PUT", headers={"Content-Type": kind})

    async def uploaded(self, id: str) -> File:  # noqa: A002 - named like the field of a file
        """Take in what a client has put where `upload_url` said. What was put cannot be changed after that.

        Raises `UnknownFile` where nothing is there; `FileTooLarge` and `WrongFileType`: it is removed then.
        """
        key = key_of(id)
        text = await self.objects.get(references.note(key))
        if text is None:
            raise UnknownFile(f"No upload {id} is expected, or not any more.")
        agreed = PendingUpload(**json.loads(text))
        if not await self.objects.has(references.content(key)):
            with suppress(UnknownFile):  # or somebody else has just taken it in
                await self.objects.move(references.incoming(key), references.content(key))
        measured = HashingStream(self._content(id, key), agreed.most)
        try:
            kind = await measured.type(agreed.type, agreed.types)
            async for _ in measured:
                pass
        except (FileTooLarge, WrongFileType):
            await self.holds.remove(key)
            raise
        self._saving.note(key)
        return File(
            id=id, name=agreed.name, type=kind, size=measured.size, sha256=measured.sha256
        ).bound(self)  # fmt: skip

    async def put_text(self, text: str, *, name: str, lasts: float = DAY) -> str:
        """Keep a text that is too large for a message, for `lasts` seconds, a week at most, and give a link to it.

        Whoever has the link reads it, over HTTP or by `get_text`; nobody can guess it.
        """
        key, name, kind = secrets.token_hex(16), sanitize_name(name), "application/json"
        await self.holds.expect(key, checked_time(lasts))
        await self.objects.put(references.content(key), text.encode(), headers_of(name, kind))
        return f"{await self._link(key, name, kind, lasts)}#{ID_PREFIX}{key}"

    async def get_text(self, link: str) -> str:
        """Read a text that `put_text` of this very place has kept. Raises `UnknownFile`; nothing else is ever fetched."""
        path = references.content(key_of(link.rpartition("#")[2]))
        found = await self.objects.get(path) if await self.objects.size(path) <= MAX_TEXT_SIZE else None
        if found is None:
            raise UnknownFile("The text that a message points to is not kept here, or not any more.")
        try:
            return found.decode()
        except UnicodeDecodeError:
            raise UnknownFile("What a message points to is no text.") from None

    async def grant(self, verb: Any, token: str) -> UrlGrant:
        """Read a link of our own. Raises `UnknownFile` where it is forged or has expired, or its file is gone."""
        grant = await self._links.check(verb, token)
        if verb == "GET":
            await self.objects.size(references.content(grant.file))
        return grant

    async def receive(self, grant: UrlGrant, chunks: AsyncIterator[bytes]) -> None:
        """Take what is put where `upload_url` said. Raises `FileTooLarge`, `UnknownFile`; nothing is left behind then."""
        if not await self.objects.has(references.note(grant.file)):
            raise UnknownFile("The file that this link was for is gone.")
        measured = HashingStream(chunks, grant.most)
        await self.objects.write(references.incoming(grant.file), aiter(measured), {})

    async def tidy(self, *, everything: bool = False) -> int:
        """Remove what has been left over for a day, and say how many files that were; see `Holds`."""
        known = self._client().known
        return await (self.holds.tidy_all(known) if everything else self.holds.tidy(known))

    async def close(self) -> None:
        """End what goes on beside."""
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.wait([self._tidying])
            self._tidying = None

    async def _removed(self, key: str) -> None:
        saved = Saved(self.holds.remove)
        saved.add(key)
        await saved.remove()

    async def _content(self, id_: str, key: str) -> AsyncIterator[bytes]:
        async with FileHandle(self.objects, references.content(key)) as opened:
            while chunk := await opened.read(opened.piece):
                yield chunk

    async def _link(self, key: str, name: str, kind: str, lasts: float) -> str:
        if self.objects.folder is None:
            return await self.objects.link("GET", references.content(key), lasts)
        return await self._own_link(UrlGrant(verb="GET", file=key, name=name, type=kind, until=time.time() + lasts))

    async def _own_link(self, grant: UrlGrant) -> str:
        return f"{self._url.rstrip('/')}/{await self._links.token(grant)}"

    def _tidy_now_and_then(self) -> None:
        idle = self._tidying is None or self._tidying.done()
        if idle and time.monotonic() - self._tidied >= CLEANUP_INTERVAL:
            self._tidied = time.monotonic()
            self._tidying = asyncio.create_task(self._tidy_quietly())

    async def _tidy_quietly(self) -> None:
        try:
            removed = await self.tidy()
        except LaneNotOpen:  # a child process, or a script: others see to it
            return
        except SidelaneError as error:
            logger.warning("files that are left over could not be looked at: %s", error)
        else:
            if removed:
                logger.info("files that nobody held any more were removed: %d", removed)


def key_of(file_id: str) -> str:
    """Give the 32 digits of a file's id. Raises `UnknownFile` on what is no id."""
    if not ID.fullmatch(file_id):
        raise UnknownFile("This is no id of a file.")
    return file_id.removeprefix(ID_PREFIX)


def checked_time(seconds: float) -> float:
    """Give back for how long a link holds. Raises `ArgumentsError` where that cannot be."""
    if not 0 < seconds <= MAX_URL_LIFETIME:
        most = f"{MAX_URL_LIFETIME:,.0f}"
        raise ArgumentsError(f"A link to a file holds for more than 0 seconds and at most {most}, not {seconds}.")
    return seconds


def headers_of(name: str, type_: str) -> dict[str, str]:
    """Say what whoever downloads a file is told: never to show it as a page of ours."""
    return {"Content-Type": type_, "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
