"""Bulk actions: cancel, requeue or purge a captured set of jobs, in steps that any process can continue.

The ids of a set are stored in chunks, each with how often its job had ended. A job that has ended since then is left alone.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Final

from sidelane.model.errors import PermanentFailure, RetryLater, StoreUnavailable, UnknownBulkAction
from sidelane.model.job import JobRecord, Rejection, State, Tombstone
from sidelane.model.json_text import dump_json
from sidelane.model.retry import Exponential, Retry
from sidelane.model.shared_state import ValueChange, VersionedValue
from sidelane.stores.contract import Store
from sidelane.tasks.context import Context
from sidelane.tasks.decorator import add_internal_task
from sidelane.tasks.internal_queues import BULK_QUEUE, BULK_TASK
from sidelane.tasks.resources import Use
from sidelane.tasks.task import Lane

HEADERS: Final = "bulk/"
CHUNKS: Final = "bulk-ids/"
"""Prefixes of the names of values: of what a bulk action is and how far it is, and of the ids of its jobs."""

STEP_SIZE: Final = 100
"""Jobs of one step at most, after which the progress is saved."""

SLICE: Final = 20.0
"""Seconds after which the job of a bulk action lets its slot go, so that a worker that drains does not wait for it."""

MAX_NOTES: Final = 100
MAX_NOTE: Final = 150
"""Jobs whose reasons are kept if nothing was done to them, and characters of a reason."""

RETRY: Final = Retry(attempts=30, backoff=Exponential(first=1, max_delay=60))
MAX_WORKER_LOSSES: Final = 100
RETENTION: Final = 86_400.0
"""How the job of a bulk action is run again, and the seconds for which it is kept."""


class BulkKind(StrEnum):
    """What is done to each job of a set."""

    CANCEL = "cancel"
    REQUEUE = "requeue"
    PURGE = "purge"

    def applies_to(self, state: State) -> bool:
        """Return whether the action can be done to a job in a state."""
        return state.finished is (self is not BulkKind.CANCEL)

    @property
    def past_tense(self) -> str:
        return {"cancel": "cancelled", "requeue": "requeued", "purge": "purged"}[self]


@dataclass(frozen=True, slots=True)
class BulkNote:
    """Why nothing was done to one job. `failed` is true if the store refused it, and not if the job has changed meanwhile."""

    job: str
    reason: str
    failed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkAction:
    """One bulk action: its captured set, and how far it is. Times are seconds since 1970 by the store's clock.

    `filter` says in words how the set was chosen, and `others` counts matching jobs that the action does not apply to by their
    states. `examples` counts jobs by queue, task and user. `pace` is the number of jobs per second; None is as many as possible.
    `chunk` and `offset` are where the next step begins.
    """

    id: str
    kind: BulkKind
    by: str
    filter: str
    captured: float
    count: int = 0
    others: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    reason: str = ""
    pace: int | None = None
    confirmed_by: str = ""
    started: float | None = None
    ended: float | None = None
    stopped_by: str = ""
    chunk: int = 0
    offset: int = 0
    done: int = 0
    skipped: int = 0
    failed: int = 0
    notes: Sequence[BulkNote] = ()

    @property
    def job_id(self) -> str:
        """The id of the job that runs a large action."""
        return f"bulk-{self.id}"

    @property
    def handled(self) -> int:
        """The number of jobs that the action has got to."""
        return self.done + self.skipped + self.failed

    def after(self, outcomes: Sequence[BulkNote | None]) -> "BulkAction":
        """Return the action after a step. An outcome is None if the job is as the action wants it."""
        notes = [each for each in outcomes if each is not None]
        failed = sum(each.failed for each in notes)
        return replace(
            self, done=self.done + len(outcomes) - len(notes), failed=self.failed + failed,
            skipped=self.skipped + len(notes) - failed, notes=(*self.notes, *notes)[:MAX_NOTES],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Captured:
    """One job of a set, and how often it had ended when it was captured."""

    job: str
    ends: int


@dataclass(frozen=True, slots=True)
class StoredAction:
    """A bulk action with the version of its value, which a change replaces, and the time of its last change."""

    action: BulkAction
    version: str
    changed: float


async def load_action(store: Store, action_id: str) -> StoredAction:
    """Return a bulk action. Raises `UnknownBulkAction`."""
    (value,) = await store.read_values([f"{HEADERS}{action_id}"])
    if value is None:
        raise UnknownBulkAction
    return parse_action(value)


async def save_action(store: Store, action: BulkAction, replaces: str | None) -> bool:
    """Save a bulk action. Returns False if it has changed meanwhile."""
    text = dump_json(asdict(action))
    return await store.set_value(ValueChange(name=f"{HEADERS}{action.id}", text=text, replaces=replaces))


def parse_action(value: VersionedValue) -> StoredAction:
    """Return the bulk action of a stored value."""
    found = json.loads(value.text)
    notes = tuple(BulkNote(**note) for note in found.pop("notes"))
    action = BulkAction(**{**found, "kind": BulkKind(found["kind"])}, notes=notes)
    return StoredAction(action, value.version, value.changed)


async def save_chunk(store: Store, action_id: str, number: int, jobs: Sequence[Captured]) -> None:
    """Save a chunk of the ids of a set."""
    text = "\n".join(f"{each.job} {each.ends}" for each in jobs)
    await store.set_value(ValueChange(name=chunk_name(action_id, number), text=text, replaces=None))


def chunk_name(action_id: str, number: int) -> str:
    """Return the name of the value of a chunk."""
    return f"{CHUNKS}{action_id}/{number}"


async def load_chunk(store: Store, action_id: str, number: int) -> list[Captured]:
    """Return a chunk of the ids of a set, which is empty after the last."""
    (value,) = await store.read_values([chunk_name(action_id, number)])
    lines = [] if value is None else [line.split(" ") for line in value.text.split("\n")]
    return [Captured(job, int(ends)) for job, ends in lines]


async def run_action(store: Store, action_id: str) -> AsyncGenerator[BulkAction, None]:
    """Do a confirmed action, from where it was left. Yield it after each step, which is already saved then.

    Ends after the last step, or when the action is stopped. Raises `UnknownBulkAction` and `StoreError`.
    """
    chunk: list[Captured] = []
    number = -1
    while True:
        stored = await load_action(store, action_id)
        action = stored.action
        if action.ended is not None:
            return
        if number != action.chunk:
            number, chunk = action.chunk, await load_chunk(store, action_id, action.chunk)
        jobs = chunk[action.offset : action.offset + min(STEP_SIZE, action.pace or STEP_SIZE)]
        if jobs:
            begun = time.monotonic()
            outcomes = await apply_to(store, action.kind, jobs)
            changed = replace(action.after(outcomes), offset=action.offset + len(jobs))
            pause = begun + len(jobs) / action.pace - time.monotonic() if action.pace else 0.0
        elif chunk:
            changed, pause = replace(action, chunk=action.chunk + 1, offset=0), 0.0
        else:
            changed, pause = replace(action, ended=(await store.list_schedules()).now), 0.0
        if await save_action(store, changed, stored.version):  # else another process goes on with it, or it was stopped
            yield changed
            await asyncio.sleep(max(0.0, pause))


async def apply_to(store: Store, kind: BulkKind, jobs: Sequence[Captured]) -> list[BulkNote | None]:
    """Do an action to those of these jobs that have not ended since they were captured. To do it again is harmless."""
    ids = [each.job for each in jobs]
    records = await store.get(ids)
    reasons = [_unchanged(kind, each, record) for each, record in zip(jobs, records, strict=True)]
    chosen = [each.job for each, reason in zip(jobs, reasons, strict=True) if reason is None]
    refusals = dict(zip(chosen, await _change(store, kind, chosen), strict=True)) if chosen else {}
    return [
        _note(each.job, refusals.get(each.job, ""), failed=True) if reason is None else _note(each.job, reason)
        for each, reason in zip(jobs, reasons, strict=True)
    ]


def _note(job: str, reason: str, *, failed: bool = False) -> BulkNote | None:
    return BulkNote(job, reason[:MAX_NOTE], failed) if reason else None


def _unchanged(kind: BulkKind, captured: Captured, record: JobRecord | Tombstone | None) -> str | None:
    """Return why a job is left alone: None if the action has to change it, and "" if it is already as wanted."""
    if not isinstance(record, JobRecord):
        return "" if kind is BulkKind.PURGE else "it was removed meanwhile"
    since = record.ends - captured.ends
    if kind is BulkKind.CANCEL:
        if record.state is State.CANCELLED and since == 1:
            return ""
        if since == 0 and not record.state.finished:
            return None
        return f"it has ended meanwhile ({record.state})" if record.state.finished else "it was requeued meanwhile"
    if kind is BulkKind.REQUEUE and since == 0 and not record.state.finished:
        return ""
    return None if since == 0 and record.state.finished else "it was requeued meanwhile"


async def _change(store: Store, kind: BulkKind, ids: Sequence[str]) -> list[str]:
    """Change jobs, and return for each why the store refused it, or ""."""
    if kind is BulkKind.CANCEL:
        return ["it was removed meanwhile" if each is None else "" for each in await store.cancel(ids)]
    if kind is BulkKind.REQUEUE:
        return [_refusal(answer) for answer in await store.requeue(ids)]
    return ["" if removed else "a job that it started is still unfinished" for removed in await store.remove(ids)]


def _refusal(answer: JobRecord | Rejection | None) -> str:
    if isinstance(answer, Rejection):
        return answer.problem.detail or answer.problem.title
    return "it was removed meanwhile" if answer is None else ""


def declare_bulk_actions(lane: Lane, store: Callable[[], Store]) -> None:
    """Register the task that runs large bulk actions."""

    async def run_bulk_action(action_id: str, *, ctx: Context = Use(Context)) -> None:
        end = time.monotonic() + SLICE
        try:
            async for action in run_action(store(), action_id):
                await ctx.progress(100 * action.handled / max(1, action.count), f"{action.handled:,}/{action.count:,}")
                if time.monotonic() >= end and action.ended is None:
                    raise RetryLater
        except StoreUnavailable as error:
            raise RetryLater(1.0) from error
        except UnknownBulkAction as error:
            raise PermanentFailure(error.problem()) from error

    add_internal_task(
        lane, run_bulk_action, name=BULK_TASK, queue=BULK_QUEUE, timeout=10 * SLICE, retry=RETRY,
        max_worker_losses=MAX_WORKER_LOSSES, retention=RETENTION,
    )  # fmt: skip
