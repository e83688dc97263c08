"""File references: markers beside the files, which record the jobs that use a file, so that it is removed after its last job.

`files/<file>` is the file. `holds/<file>/job.<job>` means that a job uses the file, and `jobs/job.<job>/<file>` means the same by
job. `loose/<file>` exists until it is certain that a job uses the file; a file that is loose for a day is removed. A marker is
written before the data that it protects and removed after that data, so that a crash in between loses no file.
"""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any

from sidelane.files.storage import ObjectInfo, ObjectStorage
from sidelane.model.errors import FilesUnavailable

DAY = 86_400.0

MAX_URL_LIFETIME = 7 * DAY
"""Maximum seconds that a signed URL is valid, as S3 and Google allow."""

SUBMIT_TIMEOUT = 3600.0
"""Seconds for which a marker may exist without its job, which is being submitted."""

TOMBSTONE = "removing."
"""Prefix of tombstone markers. A file with a tombstone is being removed and must not be referenced. Each removal has its own."""

REMOVAL_TIMEOUT, POLL_INTERVAL = 2.0, 0.1
"""Seconds to wait for another process that removes a file, and seconds between two checks."""

MAX_CONCURRENT = 32
"""Files that are processed concurrently."""

PAGE = 200
"""Markers whose jobs are looked up together."""

Known = Callable[[Sequence[str]], Awaitable[set[str]]]
"""Returns which of these jobs the store has."""


def content_path(file: str) -> str:
    return f"files/{file}"


def upload_path(file: str) -> str:
    return f"uploads/{file}/content"


def pending_path(file: str) -> str:
    return f"uploads/{file}/note"


def loose_path(file: str) -> str:
    return f"loose/{file}"


def reference_path(file: str, holder: str) -> str:
    return f"holds/{file}/{holder}"


def job_path(job_id: str, file: str = "") -> str:
    return f"jobs/{holder_of(job_id)}/{file}".rstrip("/")


def holder_of(job_id: str) -> str:
    return f"job.{job_id}"  # an id may be invalid as a path, e.g. two dots


def job_of(holder: str) -> str:
    return holder.removeprefix("job.") if not holder.startswith(TOMBSTONE) else ""


class FileReferences:
    """References of jobs to files. Files are named by the 32 digits of their ids. Methods raise the errors of `ObjectStorage`."""

    def __init__(self, objects: ObjectStorage) -> None:
        self._objects = objects

    async def expect(self, file: str, lifetime: float = DAY) -> None:
        """Announce a file that no job references yet. The file is kept for `lifetime` seconds, at least a day."""
        until = time.time() + max(lifetime, DAY)
        await self._objects.put(loose_path(file), json.dumps({"until": until}).encode())

    async def add(self, job_id: str, files: Iterable[str]) -> set[str]:
        """Reference files for a job that will be submitted, and return the files that exist.

        The files stay loose until `confirm`.
        """
        found = await for_each(files, lambda file: self._add(job_id, file))
        return {file for file, exists in found if exists}

    async def confirm(self, files: Iterable[str]) -> None:
        """Record that a job that references these files is in the store."""
        await self._objects.delete(loose_path(file) for file in files)

    async def files_of(self, job_id: str) -> list[str]:
        """Return the files that a job references."""
        return [_name(found) async for found in self._objects.list(job_path(job_id))]

    async def release(self, job_id: str, files: Iterable[str]) -> None:
        """Remove a job's references to files, and the files that no job references any more."""
        await for_each(files, lambda file: self._release(holder_of(job_id), file))

    async def remove(self, file: str) -> bool:
        """Remove a file unless a job references it, and return whether it was removed."""
        return await self._release(None, file)

    async def tidy(self, known: Known) -> int:
        """Remove the files that have been loose for too long, and return the number of removed files."""
        await self._objects.delete_incomplete(DAY)
        removed = 0
        async for marker in self._objects.list("loose"):
            if marker.age >= DAY:
                removed += await self._tidy(_name(marker), known)
        return removed

    async def tidy_all(self, known: Known) -> int:
        """Tidy, and also check every reference and remove those of jobs that the store has lost. Return the number of removed
        files.

        Uploads by signed URL without a file are removed as well, after their URL has expired.
        """
        removed = await self.tidy(known)
        expired = [found.path async for found in self._objects.list("uploads") if found.age > MAX_URL_LIFETIME + DAY]
        await self._objects.delete(path for path in expired if path.endswith("/content"))
        async for markers in _pages(self._objects.list("holds")):
            held = [marker.path.split("/")[1:] for marker in markers if marker.age >= SUBMIT_TIMEOUT]
            jobs = await known([job for _, holder in held if (job := job_of(holder))])
            for file, holder in held:
                if job_of(holder) not in jobs:
                    removed += await self._release(holder, file)
        return removed

    async def _add(self, job_id: str, file: str) -> bool:
        if not await self._objects.exists(content_path(file)):  # so that invented ids cost no writes
            return False
        marker, by_job = reference_path(file, holder_of(job_id)), job_path(job_id, file)
        await asyncio.gather(self._objects.put(marker), self._objects.put(by_job))
        end = time.monotonic() + REMOVAL_TIMEOUT
        while await self._is_being_removed(file):
            if time.monotonic() > end:
                await self._objects.delete((marker, by_job))
                raise FilesUnavailable(f"File {file} is being removed.")
            await asyncio.sleep(POLL_INTERVAL)
        if await self._objects.exists(content_path(file)):
            return True
        await self._objects.delete((marker, by_job))
        return False

    async def _release(self, holder: str | None, file: str) -> bool:
        """Remove a reference of a file, and the file if that reference was the last.

        A concurrent `add` sees the tombstone, or its marker is seen here.
        """
        tombstone = reference_path(file, f"{TOMBSTONE}{secrets.token_hex(8)}")
        await self._objects.put(tombstone)
        if holder is not None:
            await self._objects.delete((reference_path(file, holder),))
        markers = [marker async for marker in self._objects.list(f"holds/{file}")]
        unused = not any(job_of(_name(marker)) for marker in markers)
        if unused:
            await self._objects.delete((content_path(file), upload_path(file), pending_path(file), loose_path(file)))
        left = [
            marker.path for marker in markers if _name(marker).startswith(TOMBSTONE) and marker.age >= SUBMIT_TIMEOUT
        ]
        await self._objects.delete((tombstone, *left))
        if holder is not None:  # last: after a crash before this, the file is found again
            await self._objects.delete((f"jobs/{holder}/{file}",))
        return unused

    async def _is_being_removed(self, file: str) -> bool:
        markers = [marker async for marker in self._objects.list(f"holds/{file}")]
        return any(_name(marker).startswith(TOMBSTONE) and marker.age < SUBMIT_TIMEOUT for marker in markers)

    async def _tidy(self, file: str, known: Known) -> bool:
        """Remove a file that has been loose for a day, unless its lifetime is longer or a job references it now."""
        text = await self._objects.get(loose_path(file))
        if text is None or json.loads(text)["until"] > time.time():
            return False
        markers = [marker async for marker in self._objects.list(f"holds/{file}")]
        holders = [_name(marker) for marker in markers]
        if any(marker.age < SUBMIT_TIMEOUT for marker in markers):
            return False
        if await known([job for holder in holders if (job := job_of(holder))]):
            await self.confirm([file])  # the process that submitted the job could not
            return False
        for holder in holders:
            await self._release(holder, file)
        return await self.remove(file)


def _name(found: ObjectInfo) -> str:
    return found.path.rpartition("/")[2]


async def _pages(found: AsyncIterator[ObjectInfo]) -> AsyncIterator[list[ObjectInfo]]:
    page: list[ObjectInfo] = []
    async for one in found:
        page.append(one)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page


async def for_each(files: Iterable[str], do: Callable[[str], Awaitable[Any]]) -> list[tuple[str, Any]]:
    """Call a function with each file, with some calls concurrently, and return the files with the results."""
    limit = asyncio.Semaphore(MAX_CONCURRENT)

    async def one(file: str) -> tuple[str, Any]:
        async with limit:
            return file, await do(file)

    return list(await asyncio.gather(*(one(file) for file in files)))
