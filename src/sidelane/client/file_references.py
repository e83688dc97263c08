"""File references of jobs. A reference exists from before the job is submitted until after the job is removed."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sidelane.files.file import ID, ID_PREFIX
from sidelane.files.files import Files, key_of
from sidelane.files.references import for_each
from sidelane.files.storage import finish_in_background
from sidelane.model.errors import (
    ArgumentsError,
    ConfigurationError,
    FilesUnavailable,
    SidelaneError,
    StoreError,
    UnknownFile,
)
from sidelane.model.job import REMOVED, JobSpec, Rejection, Submission, Tombstone
from sidelane.model.retry import Exponential, Retry
from sidelane.stores.contract import Store
from sidelane.tasks.context import Context
from sidelane.tasks.decorator import add_internal_task
from sidelane.tasks.internal_queues import FILE_CLEANUP_TASK, FILE_QUEUE
from sidelane.tasks.resources import Use
from sidelane.tasks.task import Lane

logger = logging.getLogger(__name__)

MAX_FILES = 1000
"""Maximum number of files that a call may name. Each file is looked up, even if a text only mentions it."""

CLEANUP_TIMEOUT, CLEANUP_RETENTION = 3600.0, 3600.0
CLEANUP_RETRY = Retry(attempts=30, backoff=Exponential(first=5, max_delay=3600))
"""Seconds that a cleanup job may take, seconds that it is kept, and its retries for more than a day."""

_FILE_VALUE = re.compile(rf'"file":"({ID.pattern})"')
"""A file value in JSON. The file of such a value must exist, unlike that of an id that a text only mentions."""


def can_reference_files(spec: JobSpec) -> bool:
    """Return whether a job may reference files, i.e. whether a cleanup job follows its removal."""
    return any(follow_up.on == REMOVED and follow_up.spec.task == FILE_CLEANUP_TASK for follow_up in spec.follow_ups)


def mentions_files(spec: JobSpec) -> bool:
    """Return whether the arguments of a job, or of jobs that follow it, name files."""
    return any(_texts(spec))


def declare_file_removal(lane: Lane) -> None:
    """Register the task that releases the files of a removed job."""

    async def remove_files(ctx: Context = Use(Context)) -> None:
        job_id = ctx.job_id.rpartition(".removed.")[0]
        await lane.files.references.release(job_id, await lane.files.references.files_of(job_id))

    add_internal_task(
        lane,
        remove_files,
        name=FILE_CLEANUP_TASK,
        queue=FILE_QUEUE,
        timeout=CLEANUP_TIMEOUT,
        retry=CLEANUP_RETRY,
        retention=CLEANUP_RETENTION,
    )


class FileReferenceTracker:
    """Submits jobs that may reference files, and records the references."""

    def __init__(self, store: Store, files: Files) -> None:
        self.store = store
        self._files = files

    async def submit(self, specs: Sequence[JobSpec]) -> list[Submission | Rejection]:
        """Reference the files of jobs, submit the jobs, and release the files of rejected jobs.

        The submit completes even if its caller is cancelled, so that no unused reference remains. Raises `UnknownFile` if a file
        does not exist, and `ArgumentsError` if a call names too many files. Also raises `FilesUnavailable` or errors of the store.
        """
        return await finish_in_background(self._submit(specs))

    async def _submit(self, specs: Sequence[JobSpec]) -> list[Submission | Rejection]:
        referencing = {spec.id: spec for spec in specs if can_reference_files(spec) and mentions_files(spec)}
        for spec in referencing.values():
            if len(files_named(list(_texts(spec)))) > MAX_FILES:
                raise ArgumentsError(
                    f"{spec.task}: a call names at most {MAX_FILES:,} files, with all calls that follow it."
                )
        referenced: dict[str, set[str]] = {}
        try:
            await for_each(referencing, lambda job_id: self._reference(referencing[job_id], referenced))
            answers = await self.store.submit(specs)
        except SidelaneError:
            await self._undo(referenced)
            raise
        if referenced:
            with _defer_errors():
                await self._reconcile(referenced, dict(zip((spec.id for spec in specs), answers, strict=True)))
        return answers

    async def keep(self, spec: JobSpec, text: str) -> None:
        """Reference the files that a text of a running job names.

        The text is the job's result, or arguments that were filled in at its start.
        """
        files = files_named([text])
        if files and can_reference_files(spec):
            await self._files.references.confirm(await self._files.references.add(spec.id, files))

    async def _reference(self, spec: JobSpec, referenced: dict[str, set[str]]) -> None:
        texts = list(_texts(spec))
        referenced[spec.id] = await self._files.references.add(spec.id, files_named(texts))
        required = {key_of(name) for text in texts for name in _FILE_VALUE.findall(text)}
        if not required <= referenced[spec.id]:
            raise UnknownFile(f"{spec.task}: a file of this call does not exist, or no longer.")

    async def _reconcile(self, referenced: dict[str, set[str]], answers: dict[str, Submission | Rejection]) -> None:
        """Confirm the references of jobs that are in the store, and release those of rejected jobs and of repeated submits."""
        confirmed, released = set[str](), dict[str, set[str]]()
        for job_id, files in referenced.items():
            answer = answers[job_id]
            if isinstance(answer, Submission) and answer.record.id == job_id:
                needed = files & files_named(list(_texts(answer.record.spec)))
                confirmed |= needed
                files = files - needed  # noqa: PLW2901 - those of a repeat that its first submit did not name
            released[job_id] = files
        await self._files.references.confirm(confirmed)
        await self._release(released)

    async def _undo(self, referenced: dict[str, set[str]]) -> None:
        """Release the files of jobs that are not in the store."""
        absent = {job_id: files for job_id, files in referenced.items() if await self._is_absent(job_id)}
        with _defer_errors():
            await self._release(absent)

    async def _release(self, references: dict[str, set[str]]) -> None:
        for job_id, files in references.items():
            await self._files.references.release(job_id, files)

    async def _is_absent(self, job_id: str) -> bool:
        """Return whether the store has no such job. If the store is unavailable, the daily cleanup decides."""
        try:
            (found,) = await self.store.get([job_id])
        except StoreError:
            return False
        return found is None or isinstance(found, Tombstone)


@contextmanager
def _defer_errors() -> Iterator[None]:
    """Ignore file-storage errors after the submit. The references stay unconfirmed, and the daily cleanup reconciles them."""
    try:
        yield
    except (FilesUnavailable, ConfigurationError) as error:
        logger.warning("file references could not be updated; the daily cleanup will retry: %s", error)


def _texts(spec: JobSpec) -> Iterator[str]:
    """Yield the arguments of a job, and of jobs that follow it, that name files."""
    if ID_PREFIX in spec.arguments:
        yield spec.arguments
    for follow_up in spec.follow_ups:
        yield from _texts(follow_up.spec)


def files_named(texts: Sequence[str]) -> set[str]:
    """Return the files whose ids are in texts, by their 32 digits."""
    return {key_of(name) for text in texts for name in ID.findall(text)}
