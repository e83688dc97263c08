"""Dead letters, the jobs that have failed permanently, and how to find, requeue and purge them."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sidelane.admin.actions import ActionResult, Lookup, Status, rejection_text
from sidelane.admin.documents import problem_text, unknown_job_text
from sidelane.admin.failure_causes import FailureCause, cause_key, failure_causes
from sidelane.model.job import JobRecord, Query, Rejection, State
from sidelane.stores.contract import Store
from sidelane.tasks.internal_queues import CALLBACK_TASK, MESSAGE_QUEUE

CHUNK_SIZE = 100
"""Jobs that are read, requeued or removed in one store call."""

MAX_GROUPED = 300
"""The newest dead letters, which are grouped by cause."""

FAILED = frozenset({State.FAILED})

Check = Callable[[JobRecord], None]
"""Raises if an action cannot be applied to a job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFilter:
    """Selects dead letters. Times are seconds since 1970; `error` is searched in the problem and in the last attempt's error.

    `release` is that of the last attempt. `causes` are keys of causes, each of one task and one release.
    """

    task: str | None = None
    queue: str | None = None
    user: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    since: float | None = None
    until: float | None = None
    error: str | None = None
    release: str | None = None
    causes: frozenset[str] = frozenset()

    def query(self, before: int | None) -> Query:
        """Return the part of the filter that a store can apply, for the jobs older than `before`."""
        return Query(
            states=FAILED, task=self.task, queue=self.queue, user=self.user, labels=self.labels, release=self.release,
            before=before, limit=CHUNK_SIZE,
        )  # fmt: skip

    def matches(self, record: JobRecord) -> bool:
        """Apply the part of the filter that a store cannot apply."""
        if record.spec.queue == MESSAGE_QUEUE and self.queue != MESSAGE_QUEUE:
            return False  # messages that were put aside have their own list
        ended = record.ended or 0.0
        if (self.since is not None and ended < self.since) or (self.until is not None and ended >= self.until):
            return False
        if self.causes and cause_key(record) not in self.causes:
            return False
        return self.error is None or self.error.casefold() in _searchable_text(record).casefold()


async def dead_letters(store: Store, selected: DeadLetterFilter) -> AsyncIterator[list[JobRecord]]:
    """Yield matching dead letters in chunks, newest first, with their histories.

    The caller may requeue or remove the jobs of a chunk before it asks for the next.
    """
    before: int | None = None
    while True:
        page = await store.list_jobs(selected.query(before))
        if not page:
            return
        before = page[-1].sequence
        complete = await store.get([record.id for record in page])
        failed = (each for each in complete if isinstance(each, JobRecord) and each.state is State.FAILED)
        if chunk := [record for record in failed if selected.matches(record)]:
            yield chunk


async def newest_dead_letters(store: Store, selected: DeadLetterFilter, limit: int) -> list[JobRecord]:
    """Return the newest matching dead letters, at most `limit`."""
    records: list[JobRecord] = []
    async for chunk in dead_letters(store, selected):
        records += chunk
        if len(records) >= limit:
            break
    return records[:limit]


def dead_letter_causes(records: Iterable[JobRecord]) -> dict[str, FailureCause]:
    """Return the causes of dead letters by their keys, the most frequent first. Callbacks have their own list."""
    causes = failure_causes(record for record in records if record.spec.task != CALLBACK_TASK)
    return {cause_key(each.newest): each for each in causes}


class DeadLetterAction(Protocol):
    """An action on failed jobs, at most `CHUNK_SIZE` in one call. `past_tense` is the word for it, e.g. "requeued"."""

    @property
    def past_tense(self) -> str: ...

    async def __call__(self, store: Store, ids: Sequence[str]) -> list[str]:
        """Apply the action. Return an error message for each job, empty if it succeeded."""
        ...


@dataclass(frozen=True, slots=True)
class Requeue:
    """Return the jobs to their queues, optionally with new arguments (JSON text)."""

    arguments: str | None = None
    past_tense: str = "requeued"

    async def __call__(self, store: Store, ids: Sequence[str]) -> list[str]:
        return [_requeue_error(answer) for answer in await store.requeue(ids, arguments=self.arguments)]


@dataclass(frozen=True, slots=True)
class Purge:
    """Delete the jobs with their logs."""

    past_tense: str = "purged"

    async def __call__(self, store: Store, ids: Sequence[str]) -> list[str]:
        return ["" if removed else "a job that it started is still unfinished" for removed in await store.remove(ids)]


async def apply_to_each(
    store: Store, ids: Sequence[str], action: DeadLetterAction, check: Check | None = None
) -> list[ActionResult]:
    """Apply an action to these jobs; those that are not dead letters are left unchanged.

    Calls `check` for all jobs of a chunk before it changes any of them, and raises what `check` raises.
    """
    ids = list(dict.fromkeys(ids))
    results: list[ActionResult] = []
    for start in range(0, len(ids), CHUNK_SIZE):
        chunk = ids[start : start + CHUNK_SIZE]
        found = dict(zip(chunk, await store.get(chunk), strict=True))
        dead = [each for each in found.values() if isinstance(each, JobRecord) and each.state is State.FAILED]
        if check is not None:
            for record in dead:
                check(record)
        dead_ids = [record.id for record in dead]
        errors = dict(zip(dead_ids, await action(store, dead_ids), strict=True))
        results += [_result(job_id, record, action, errors) for job_id, record in found.items()]
    return results


def not_dead_text(record: JobRecord) -> str:
    """Return why a job is not a dead letter."""
    return f"not a dead letter: the job {'has' if record.state is State.SUCCEEDED else 'is'} {record.state}"


def _searchable_text(record: JobRecord) -> str:
    problem = "" if record.problem is None else problem_text(record.problem.document())
    return "\n".join([problem, *(failure.error for failure in record.history[-1:])])


def _result(job_id: str, record: Lookup, action: DeadLetterAction, errors: Mapping[str, str]) -> ActionResult:
    if not isinstance(record, JobRecord):
        return ActionResult(job_id, Status.NOT_FOUND, unknown_job_text(record))
    if record.state is not State.FAILED:
        return ActionResult(job_id, Status.FAILED, not_dead_text(record))
    if errors[job_id]:
        return ActionResult(job_id, Status.FAILED, f"not {action.past_tense}: {errors[job_id]}")
    return ActionResult(job_id, Status.DONE, action.past_tense)


def _requeue_error(answer: JobRecord | Rejection | None) -> str:
    if isinstance(answer, Rejection):
        return rejection_text(answer)
    return str(unknown_job_text(None)) if answer is None else ""
