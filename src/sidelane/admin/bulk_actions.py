"""What is done to dead letters: to those that are named, or to all that are wanted, in pieces."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from sidelane.admin.dead_letters import CHUNK_SIZE, DeadLetterFilter, dead_letters
from sidelane.admin.documents import unknown_words
from sidelane.model.job import JobRecord, Rejection, State, Tombstone
from sidelane.stores.contract import Store

Check = Callable[[JobRecord], None]
"""Raises where something cannot be done to a job."""


class Status(StrEnum):
    """What became of one dead letter."""

    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What became of one dead letter, with a message for operators."""

    job_id: str
    status: Status
    message: str


class BulkAction(Protocol):
    """Something to do to at most `PIECE` failed jobs. `done` is the word for it."""

    @property
    def done(self) -> str: ...

    def question(self, what: str) -> str:
        """Ask whether to do it to so many: "3 dead letters"."""
        ...

    async def __call__(self, store: Store, ids: Sequence[str]) -> list[str]:
        """Do it; say of each why it could not be, and nothing where it is done."""
        ...


@dataclass(frozen=True, slots=True)
class Requeue:
    """Bring them back to their queues, with other arguments where some are given (JSON text)."""

    arguments: str | None = None
    done: str = "requeued"

    def question(self, what: str) -> str:
        return f"Requeue {what}?"

    async def __call__(self, store: Store, ids: Sequence[str]) -> list[str]:
        return [_refused(answer) for answer in await store.requeue(ids, arguments=self.arguments)]


@dataclass(frozen=True, slots=True)
class Purge:
    """Forget them."""

    done: str = "forgotten"

    def question(self, what: str) -> str:
        return f"Forget {what} for good?"

    async def __call__(self, store: Store, ids: Sequence[str]) -> list[str]:
        return ["" if removed else "a job that came of it has not ended" for removed in await store.remove(ids)]


async def act_on_each(
    store: Store, ids: Sequence[str], act: BulkAction, check: Check | None = None
) -> list[ActionResult]:
    """Do something to these jobs, leaving out what is no dead letter; first of all, `check` each. Raises what it raises."""
    answers: list[ActionResult] = []
    for start in range(0, len(ids), CHUNK_SIZE):
        piece = ids[start : start + CHUNK_SIZE]
        found = dict(zip(piece, await store.get(piece), strict=True))
        dead = [each for each in found.values() if isinstance(each, JobRecord) and each.state is State.FAILED]
        if check is not None:
            for record in dead:
                check(record)
        dead_ids = [record.id for record in dead]
        wrong = dict(zip(dead_ids, await act(store, dead_ids), strict=True))
        answers += [_answer(job_id, record, act, wrong) for job_id, record in found.items()]
    return answers


async def act_on_all(store: Store, wanted: DeadLetterFilter, act: BulkAction) -> AsyncIterator[Mapping[str, str]]:
    """Do something to all dead letters that are wanted; yield of each piece what `act` says, by id."""
    async for piece in dead_letters(store, wanted):
        ids = [record.id for record in piece]
        yield dict(zip(ids, await act(store, ids), strict=True))


def stands(record: JobRecord) -> str:
    """Say why a job is no dead letter."""
    return f"it is no dead letter: it {'is' if not record.state.finished else 'has'} {record.state}"


def _answer(
    job_id: str, record: JobRecord | Tombstone | None, act: BulkAction, wrong: Mapping[str, str]
) -> ActionResult:
    if not isinstance(record, JobRecord):
        return ActionResult(job_id, Status.UNKNOWN, unknown_words(record))
    if record.state is not State.FAILED:
        return ActionResult(job_id, Status.FAILED, stands(record))
    if wrong[job_id]:
        return ActionResult(job_id, Status.FAILED, f"not {act.done}: {wrong[job_id]}")
    return ActionResult(job_id, Status.DONE, act.done)


def _refused(answer: JobRecord | Rejection | None) -> str:
    if isinstance(answer, Rejection):
        return answer.problem.detail or answer.problem.title
    return unknown_words(None) if answer is None else ""
