"""Bulk actions as operators do them: capture the jobs that match now, look at what would be done, confirm, follow, stop."""

from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sidelane.admin.dead_letters import DeadLetterFilter
from sidelane.admin.documents import Document, time_text
from sidelane.admin.job_search import MAX_SEARCHED, search_jobs
from sidelane.admin.jobs import JobFilter, with_histories
from sidelane.client.bulk_actions import (
    HEADERS,
    BulkAction,
    BulkKind,
    Captured,
    StoredAction,
    chunk_name,
    load_action,
    parse_action,
    run_action,
    save_action,
    save_chunk,
)
from sidelane.client.client import Client
from sidelane.model.durations import DAY
from sidelane.model.errors import SidelaneError
from sidelane.model.ids import new_nonce
from sidelane.model.job import JobRecord
from sidelane.model.shared_state import ValueChange, VersionedValue
from sidelane.stores.contract import Store
from sidelane.tasks.internal_queues import BULK_TASK

MAX_CAPTURED: Final = 100_000
"""Jobs of one action, at most."""

MAX_READ: Final = 300_000
"""Jobs that a capture looks at, at most."""

MAX_AT_ONCE: Final = 200
"""Jobs of an action that is done at once. A larger one runs as a job."""

PAGE_SIZE: Final = 500
CHUNK_SIZE: Final = 400
"""Jobs that are read in one call, and ids in one chunk, which fit a value even if all are as long as ids may be."""

PACES: Final = (5, 50, 500)
"""Jobs per second that an operator may choose."""

MAX_EXAMPLES: Final = 8
MAX_NAME: Final = 100
"""Queues, tasks and users that a preview names, and characters of such a name."""

MAX_FILTER: Final = 500
MAX_REASON: Final = 200
"""Characters of a filter in words and of a reason that are kept."""

SILENT_AFTER: Final = 15.0
"""Seconds without progress after which an action without a job counts as interrupted."""

KEPT: Final = float(DAY)
"""Seconds for which an action is kept after its last change."""

NOT_CONFIRMED: Final = "not confirmed"
"""The state of a captured action that nothing has been done of."""

MAX_LISTED: Final = 50
"""Actions that a list shows, the newest."""


class TooManyJobs(SidelaneError):
    """More than 100,000 jobs match, or more than 300,000 have to be read to find those that do. Narrow the filter."""

    status = 422


@dataclass(frozen=True, slots=True)
class BulkState:
    """A bulk action and its state in words: "not confirmed", "running", "interrupted", "stopped" or "done"."""

    action: BulkAction
    state: str

    def document(self) -> Document:
        """Return the action as JSON."""
        action = self.action
        return {
            "id": action.id, "action": action.kind, "filter": action.filter, "state": self.state, "captured": action.count,
            "done": action.done, "skipped": action.skipped, "failed": action.failed, "by": action.confirmed_by or action.by,
            "reason": action.reason or None, "started": time_text(action.started), "ended": time_text(action.ended),
            "notes": [{"id": note.job, "message": note.reason, "failed": note.failed} for note in action.notes],
        }  # fmt: skip


async def filtered_jobs(store: Store, selected: JobFilter) -> AsyncIterator[Sequence[JobRecord]]:
    """Yield the jobs that match now, newest first, in pages. Raises `TooManyJobs` if too many have to be read.

    A text is searched in as many jobs as a page of the list looks at.
    """
    read = 0
    while True:
        found = await search_jobs(store, selected, PAGE_SIZE)
        yield found.records
        read += found.searched
        if found.before is None or (selected.query.text and read >= MAX_SEARCHED):
            return
        if read > MAX_READ:
            raise TooManyJobs
        selected = replace(selected, query=replace(selected.query, before=found.before))


async def filtered_dead_letters(store: Store, selected: DeadLetterFilter) -> AsyncIterator[Sequence[JobRecord]]:
    """Yield the dead letters that match now, newest first, in pages. Raises `TooManyJobs` if too many have to be read."""
    read = 0
    before: int | None = None
    while True:
        query = replace(selected.query(before), limit=PAGE_SIZE)
        page = await store.search_jobs(query, scan=MAX_SEARCHED)
        complete = await with_histories(store, page.records)
        yield [record for record in complete if selected.matches(record)]
        read, before = read + page.scanned, page.before
        if before is None:
            return
        if read > MAX_READ:
            raise TooManyJobs


async def chosen_jobs(store: Store, ids: Sequence[str]) -> AsyncIterator[Sequence[JobRecord]]:
    """Yield the jobs with these ids that still exist."""
    yield [each for each in await store.get(list(dict.fromkeys(ids))) if isinstance(each, JobRecord)]


async def capture(
    store: Store, kind: BulkKind, pages: AsyncIterable[Sequence[JobRecord]], *, filter_text: str, by: str
) -> BulkAction:
    """Store which of some jobs an action would change, and return the action, which has yet to be confirmed.

    The jobs of `pages` are all that match. Raises `TooManyJobs`, and then nothing is kept. Removes actions that are a day old.
    """
    await _remove_old(store)
    now = (await store.list_schedules()).now
    action = BulkAction(id=new_nonce(), kind=kind, by=by, filter=filter_text[:MAX_FILTER], captured=now)
    await save_action(store, action, None)
    stored = await load_action(store, action.id)
    count, number = 0, 0
    others: Counter[str] = Counter()
    examples: dict[str, Counter[str]] = {"queue": Counter(), "task": Counter(), "user": Counter()}
    chunk: list[Captured] = []
    try:
        async for page in pages:
            for record in page:
                if not kind.applies_to(record.state):
                    others[record.state] += 1
                    continue
                _count(examples, record)
                chunk.append(Captured(record.id, record.ends))
                count += 1
            if count > MAX_CAPTURED:
                raise TooManyJobs
            while len(chunk) >= CHUNK_SIZE:
                await save_chunk(store, action.id, number, chunk[:CHUNK_SIZE])
                number, chunk = number + 1, chunk[CHUNK_SIZE:]
        if chunk:
            await save_chunk(store, action.id, number, chunk)
    except SidelaneError:
        await _remove(store, action.id)
        raise
    named = {name: dict(counter.most_common(MAX_EXAMPLES)) for name, counter in examples.items()}
    captured = replace(action, count=count, others=dict(others), examples=named)
    await save_action(store, captured, stored.version)
    return captured


async def confirm(client: Client, action_id: str, *, by: str, reason: str = "", pace: int | None = None) -> BulkAction:
    """Do a captured action: at once if it is small, otherwise as a separate job. A repeated call changes nothing.

    An action whose job has failed goes on. Raises `UnknownBulkAction`.
    """
    store = client.store
    action = await begin(store, action_id, by=by, reason=reason, pace=pace)
    if action.ended is not None:
        return action
    if action.count <= MAX_AT_ONCE:
        async for each in run_action(store, action_id):
            action = each
        return action
    task = client.registry.tasks[BULK_TASK]
    submission = await client.submission(task.options(id=action.job_id).call(action_id))
    if submission.record.state.finished:
        await store.requeue([action.job_id])
    return action


async def begin(store: Store, action_id: str, *, by: str, reason: str = "", pace: int | None = None) -> BulkAction:
    """Mark an action as confirmed, for who runs it next. Raises `UnknownBulkAction`."""
    while True:
        stored = await load_action(store, action_id)
        if stored.action.started is not None:
            return stored.action
        begun = replace(
            stored.action,
            confirmed_by=by,
            reason=reason[:MAX_REASON],
            pace=pace,
            started=(await store.list_schedules()).now,
        )
        if await save_action(store, begun, stored.version):
            return begun


async def stop(store: Store, action_id: str, *, by: str) -> BulkAction:
    """Stop an action after its current step. What is done stays done. Raises `UnknownBulkAction`."""
    while True:
        stored = await load_action(store, action_id)
        if stored.action.ended is not None:
            return stored.action
        stopped = replace(stored.action, ended=(await store.list_schedules()).now, stopped_by=by)
        if await save_action(store, stopped, stored.version):
            await store.cancel([stopped.job_id])
            return stopped


async def read_action(store: Store, action_id: str) -> BulkState:
    """Return a bulk action and its state. Raises `UnknownBulkAction`."""
    (found,) = await _with_states(store, [await load_action(store, action_id)])
    return found


async def recent_actions(store: Store) -> list[BulkState]:
    """Return the bulk actions of the last day, newest first."""
    newest = sorted(await _kept(store), key=lambda stored: -stored.action.captured)[:MAX_LISTED]
    return await _with_states(store, newest)


def _count(examples: dict[str, Counter[str]], record: JobRecord) -> None:
    spec = record.spec
    for name, value in (("queue", spec.queue), ("task", spec.task), ("user", spec.user)):
        if value is not None and (value[:MAX_NAME] in examples[name] or len(examples[name]) < PAGE_SIZE):
            examples[name][value[:MAX_NAME]] += 1


async def _with_states(store: Store, found: Sequence[StoredAction]) -> list[BulkState]:
    now, jobs = (await store.list_schedules()).now, await store.get([each.action.job_id for each in found])
    return [BulkState(each.action, _state(each, job, now)) for each, job in zip(found, jobs, strict=True)]


def _state(stored: StoredAction, job: object, now: float) -> str:
    action = stored.action
    if action.ended is not None:
        return "stopped" if action.stopped_by else "done"
    if action.started is None:
        return NOT_CONFIRMED
    running = isinstance(job, JobRecord) and not job.state.finished
    return "running" if running or now - stored.changed < SILENT_AFTER else "interrupted"


async def _kept(store: Store) -> list[StoredAction]:
    """Return every action that is kept."""
    found: list[VersionedValue] = []
    while page := await store.list_values(HEADERS, after=found[-1].name if found else None):
        found += page
    return list(map(parse_action, found))


async def _remove_old(store: Store) -> None:
    now = (await store.list_schedules()).now
    for stored in await _kept(store):
        if now - stored.changed > KEPT:
            await _remove(store, stored.action.id)


async def _remove(store: Store, action_id: str) -> None:
    """Remove an action, and before it the ids of its jobs."""
    number = 0
    while await _remove_value(store, chunk_name(action_id, number)):
        number += 1
    await _remove_value(store, f"{HEADERS}{action_id}")


async def _remove_value(store: Store, name: str) -> bool:
    """Remove a value. Returns False if there is none."""
    (value,) = await store.read_values([name])
    if value is None:
        return False
    await store.set_value(ValueChange(name=name, text=None, replaces=value.version))
    return True
