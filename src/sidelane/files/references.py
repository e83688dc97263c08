"""Who holds a file: marks beside the files themselves, so that one goes when its last job has gone, whatever crashed in between.

`files/<file>` is the file. `holds/<file>/job.<job>` says that a job holds it, and `jobs/job.<job>/<file>` says the same for who
has the job. `loose/<file>` stands there as long as it is not certain that a job does; what has been loose for a day is removed.
Marks are written before what they protect and removed after it.
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
"""Seconds for which a signed link may hold: what S3 and Google allow."""

PENDING = 3600.0
"""Seconds for which a mark may be there without its job: its submit is under way."""

TOMBSTONE = "removing."
"""How the marks begin that stand among those of a file's holders while somebody removes it, so that nobody takes hold of it then.
Each who does has one of their own: who goes takes none away that another stands by.
"""

PATIENCE, LOOK_AGAIN = 2.0, 0.1
"""How long somebody else's removal of a file is waited for, and how often it is looked at, in seconds."""

MAX_CONCURRENT = 32
"""Files that are seen to at the same time."""

PAGE = 200
"""Marks whose jobs are looked up at one go."""

Known = Callable[[Sequence[str]], Awaitable[set[str]]]
"""Says which of these jobs the store still has."""


def content(file: str) -> str:
    return f"files/{file}"


def incoming(file: str) -> str:
    return f"uploads/{file}/content"


def note(file: str) -> str:
    return f"uploads/{file}/note"


def unreferenced(file: str) -> str:
    return f"loose/{file}"


def held_by(file: str, holder: str) -> str:
    return f"holds/{file}/{holder}"


def holding(job_id: str, file: str = "") -> str:
    return f"jobs/{holder_of(job_id)}/{file}".rstrip("/")


def holder_of(job_id: str) -> str:
    return f"job.{job_id}"  # an id may be what a path must not be, such as two dots


def job_of(holder: str) -> str:
    return holder.removeprefix("job.") if not holder.startswith(TOMBSTONE) else ""


class FileReferences:
    """Keeps account of who holds which file. Files are named by the 32 digits of their ids. All raise as `Objects` does."""

    def __init__(self, objects: ObjectStorage) -> None:
        self._objects = objects

    async def expect(self, file: str, lasts: float = DAY) -> None:
        """Say that a file is about to come, which nobody holds; it stays so for `lasts` seconds, a day at least."""
        until = time.time() + max(lasts, DAY)
        await self._objects.put(unreferenced(file), json.dumps({"until": until}).encode())

    async def hold(self, job_id: str, files: Iterable[str]) -> set[str]:
        """Hold files for a job that is about to be submitted, and give those that are there. They stay loose until `keep`."""
        found = await each(files, lambda file: self._hold(job_id, file))
        return {file for file, is_there in found if is_there}

    async def keep(self, files: Iterable[str]) -> None:
        """Say that a job that holds these files is in the store."""
        await self._objects.delete(unreferenced(file) for file in files)

    async def held(self, job_id: str) -> list[str]:
        """List the files that a job holds."""
        return [_name(found) async for found in self._objects.list(holding(job_id))]

    async def let_go(self, job_id: str, files: Iterable[str]) -> None:
        """Let go of files that a job held. Those that nobody holds any more are removed."""
        await each(files, lambda file: self._let_go(holder_of(job_id), file))

    async def remove(self, file: str) -> bool:
        """Remove a file that nobody holds, and say whether that was so."""
        return await self._let_go(None, file)

    async def tidy(self, known: Known) -> int:
        """Remove the files that have been loose for too long, and say how many those were."""
        await self._objects.clear(DAY)
        removed = 0
        async for mark in self._objects.list("loose"):
            if mark.age >= DAY:
                removed += await self._tidy(_name(mark), known)
        return removed

    async def tidy_all(self, known: Known) -> int:
        """Look at every file that is held, too: let go of those whose jobs the store has lost. Say how many were removed.

        What was put by a link whose file is gone goes as well, once no such link can hold any more.
        """
        removed = await self.tidy(known)
        late = [found.path async for found in self._objects.list("uploads") if found.age > MAX_URL_LIFETIME + DAY]
        await self._objects.delete(path for path in late if path.endswith("/content"))
        async for marks in _pages(self._objects.list("holds")):
            held = [mark.path.split("/")[1:] for mark in marks if mark.age >= PENDING]
            jobs = await known([job for _, holder in held if (job := job_of(holder))])
            for file, holder in held:
                if job_of(holder) not in jobs:
                    removed += await self._let_go(holder, file)
        return removed

    async def _hold(self, job_id: str, file: str) -> bool:
        if not await self._objects.has(content(file)):  # so that ids which somebody made up cost no writes
            return False
        mark, back = held_by(file, holder_of(job_id)), holding(job_id, file)
        await asyncio.gather(self._objects.put(mark), self._objects.put(back))
        end = time.monotonic() + PATIENCE
        while await self._is_being_removed(file):
            if time.monotonic() > end:
                await self._objects.delete((mark, back))
                raise FilesUnavailable(f"File {file} is being removed.")
            await asyncio.sleep(LOOK_AGAIN)
        if await self._objects.has(content(file)):
            return True
        await self._objects.delete((mark, back))
        return False

    async def _let_go(self, holder: str | None, file: str) -> bool:
        """Take a holder from a file, and the file where there is no other: who is about to hold it sees that, or is seen."""
        removing = held_by(file, f"{TOMBSTONE}{secrets.token_hex(8)}")
        await self._objects.put(removing)
        if holder is not None:
            await self._objects.delete((held_by(file, holder),))
        marks = [mark async for mark in self._objects.list(f"holds/{file}")]
        is_free = not any(job_of(_name(mark)) for mark in marks)
        if is_free:
            await self._objects.delete((content(file), incoming(file), note(file), unreferenced(file)))
        left = [mark.path for mark in marks if _name(mark).startswith(TOMBSTONE) and mark.age >= PENDING]
        await self._objects.delete((removing, *left))
        if holder is not None:  # last, so that who is killed before this finds the file again
            await self._objects.delete((f"jobs/{holder}/{file}",))
        return is_free

    async def _is_being_removed(self, file: str) -> bool:
        marks = [mark async for mark in self._objects.list(f"holds/{file}")]
        return any(_name(mark).startswith(TOMBSTONE) and mark.age < PENDING for mark in marks)

    async def _tidy(self, file: str, known: Known) -> bool:
        """See to a file that has been loose for a day: whether its time is over, and whether a job has come to hold it."""
        text = await self._objects.get(unreferenced(file))
        if text is None or json.loads(text)["until"] > time.time():
            return False
        marks = [mark async for mark in self._objects.list(f"holds/{file}")]
        holders = [_name(mark) for mark in marks]
        if any(mark.age < PENDING for mark in marks):
            return False
        if await known([job for holder in holders if (job := job_of(holder))]):
            await self.keep([file])  # whoever submitted that job had no time to
            return False
        for holder in holders:
            await self._let_go(holder, file)
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


async def each(files: Iterable[str], do: Callable[[str], Awaitable[Any]]) -> list[tuple[str, Any]]:
    """Do something with each of many files, some at a time."""
    turns = asyncio.Semaphore(MAX_CONCURRENT)

    async def one(file: str) -> tuple[str, Any]:
        async with turns:
            return file, await do(file)

    return list(await asyncio.gather(*(one(file) for file in files)))
