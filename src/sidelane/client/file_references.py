"""Jobs and their files: each is held from before its job is submitted until after that is removed."""

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
from sidelane.tasks.decorator import InternalTaskDecorator
from sidelane.tasks.internal_queues import FILE_QUEUE
from sidelane.tasks.resources import Use
from sidelane.tasks.task import Lane

logger = logging.getLogger(__name__)

REMOVE_FILES = "sidelane.remove_files"

MOST_FILES = 1000
"""How many files a call may name: each is looked for, also where a client's text only mentions it."""

CLEANUP_TIMEOUT, CLEANUP_RETENTION = 3600.0, 3600.0
CLEANUP_RETRY = Retry(attempts=30, backoff=Exponential(first=5, most=3600))
"""How long the removal of a job's files may take, how long it is kept after that, and how often it is tried: more than a day."""

_TYPED = re.compile(rf'"file":"({ID.pattern})"')
"""How JSON names a file that is more than mentioned: what takes it needs it to be there."""


def can_reference_files(spec: JobSpec) -> bool:
    """Tell whether a job is of the kind that holds files: something sees to them then when it is removed."""
    return any(follow_up.on == REMOVED and follow_up.spec.task == REMOVE_FILES for follow_up in spec.follow_ups)


def mentions_files(spec: JobSpec) -> bool:
    """Tell whether the arguments of a job, or of what follows it, name files."""
    return any(_texts(spec))


def declare_file_removal(lane: Lane, own: InternalTaskDecorator) -> None:
    """Give a lane the task that lets go of the files of a job that was removed."""

    async def remove_files(ctx: Context = Use(Context)) -> None:
        job_id = ctx.job_id.rpartition(".removed.")[0]
        await lane.files.references.release(job_id, await lane.files.references.files_of(job_id))

    task = own(
        remove_files,
        name=REMOVE_FILES,
        queue=FILE_QUEUE,
        timeout=CLEANUP_TIMEOUT,
        retry=CLEANUP_RETRY,
        retention=CLEANUP_RETENTION,
    )
    lane.registry.file_cleanup_call = task.call()


class FileReferenceTracker:
    """Submits jobs that may hold files, and sees to it that they do."""

    def __init__(self, store: Store, files: Files) -> None:
        self.store = store
        self._files = files

    async def submit(self, specs: Sequence[JobSpec]) -> list[Submission | Rejection]:
        """Submit jobs whose files are held from before; what is not taken lets go of them again.

        This goes on to its end where whoever waits for it is cancelled, so that no file is left behind. Raises `UnknownFile` where
        one is not there, `ArgumentsError` where one call names too many, `FilesUnavailable`, and as the store does.
        """
        return await finish_in_background(self._submit(specs))

    async def _submit(self, specs: Sequence[JobSpec]) -> list[Submission | Rejection]:
        holding = {spec.id: spec for spec in specs if can_reference_files(spec) and mentions_files(spec)}
        for spec in holding.values():
            if len(files_named(list(_texts(spec)))) > MOST_FILES:
                raise ArgumentsError(
                    f"{spec.task}: a call names at most {MOST_FILES:,} files, with all that follows it."
                )
        held: dict[str, set[str]] = {}
        try:
            await for_each(holding, lambda job_id: self._hold(holding[job_id], held))
            answers = await self.store.submit(specs)
        except SidelaneError:
            await self._undo(held)
            raise
        if held:
            with _or_later():
                await self._settle(held, dict(zip((spec.id for spec in specs), answers, strict=True)))
        return answers

    async def keep(self, spec: JobSpec, text: str) -> None:
        """Hold for a running job the files that a text of its own names: its result, or arguments that came to it at its start."""
        files = files_named([text])
        if files and can_reference_files(spec):
            await self._files.references.confirm(await self._files.references.add(spec.id, files))

    async def _hold(self, spec: JobSpec, held: dict[str, set[str]]) -> None:
        texts = list(_texts(spec))
        held[spec.id] = await self._files.references.add(spec.id, files_named(texts))
        needed = {key_of(name) for text in texts for name in _TYPED.findall(text)}
        if not needed <= held[spec.id]:
            raise UnknownFile(f"{spec.task}: a file that this call takes is not there, or not any more.")

    async def _settle(self, held: dict[str, set[str]], answers: dict[str, Submission | Rejection]) -> None:
        """Keep what the jobs in the store take; let go of what came for jobs that are not there, or have others already."""
        kept, gone = set[str](), dict[str, set[str]]()
        for job_id, files in held.items():
            answer = answers[job_id]
            if isinstance(answer, Submission) and answer.record.id == job_id:
                theirs = files & files_named(list(_texts(answer.record.spec)))
                kept |= theirs
                files = files - theirs  # noqa: PLW2901 - those of a repeat, which its first try does not know
            gone[job_id] = files
        await self._files.references.confirm(kept)
        await self._let_go(gone)

    async def _undo(self, held: dict[str, set[str]]) -> None:
        """Let go of what was to be held for jobs that are not in the store."""
        absent = {job_id: files for job_id, files in held.items() if await self._is_absent(job_id)}
        with _or_later():
            await self._let_go(absent)

    async def _let_go(self, held: dict[str, set[str]]) -> None:
        for job_id, files in held.items():
            await self._files.references.release(job_id, files)

    async def _is_absent(self, job_id: str) -> bool:
        """Tell whether the store says that it has no such job; where it cannot say, the files are looked at in a day."""
        try:
            (found,) = await self.store.get([job_id])
        except StoreError:
            return False
        return found is None or isinstance(found, Tombstone)


@contextmanager
def _or_later() -> Iterator[None]:
    """What the store has answered stands, whether or not its files can be seen to now: they stay loose, so it is done in a day."""
    try:
        yield
    except (FilesUnavailable, ConfigurationError) as error:
        logger.warning("who holds which file could not be noted, and is looked at in a day: %s", error)


def _texts(spec: JobSpec) -> Iterator[str]:
    """Give those texts of a job, and of what follows it, that name files."""
    if ID_PREFIX in spec.arguments:
        yield spec.arguments
    for follow_up in spec.follow_ups:
        yield from _texts(follow_up.spec)


def files_named(texts: Sequence[str]) -> set[str]:
    """Give the files whose ids stand in texts, by their 32 digits."""
    return {key_of(name) for text in texts for name in ID.findall(text)}
