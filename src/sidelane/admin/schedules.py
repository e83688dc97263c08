"""Schedules as operators see them: next, missed and past runs; enable, disable, run and forget."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from sidelane.admin.actions import ActionResult, Status
from sidelane.client.client import Client
from sidelane.client.schedules import LABEL, Schedules
from sidelane.model.job import JobRecord, Query
from sidelane.model.schedule import ScheduleRecord
from sidelane.model.sentence import Sentence, sentence
from sidelane.stores.contract import Store

OVERDUE_AFTER = 10.0
"""Seconds after its scheduled time at which a run counts as overdue, because no process has submitted the run."""

MAX_SEARCHED: Final = 2000
"""The newest jobs among which the jobs of a schedule are searched."""


def next_run(record: ScheduleRecord) -> float | None:
    """Return the time of the next run in seconds since 1970, computed if the store does not have it yet.

    Return None if the schedule is disabled, or if its cron expression cannot be read because the package `cronsim` is missing.
    """
    if not record.enabled:
        return None
    if record.next:
        return record.next
    try:
        return record.schedule.next(record.last)
    except ImportError:
        return None


def next_runs(record: ScheduleRecord, count: int) -> list[float]:
    """Return the times of the next runs in seconds since 1970, as many as `count`; none where `next_run` returns None."""
    first = next_run(record)
    if first is None:
        return []
    times = [first]
    while len(times) < count:
        times.append(record.schedule.next(times[-1]))
    return times


async def newest_jobs(store: Store, record: ScheduleRecord, limit: int) -> list[JobRecord]:
    """Return the newest jobs of a schedule, at most `limit`, as far as they are among the newest jobs of the store."""
    spec = record.schedule.spec
    query = Query(task=spec.task, queue=spec.queue, user=spec.user, labels={LABEL: record.schedule.name}, limit=limit)
    return list((await store.search_jobs(query, scan=MAX_SEARCHED)).records)


def is_overdue(record: ScheduleRecord, now: float) -> bool:
    """Return whether a run should have been submitted some time ago."""
    due = next_run(record)
    return due is not None and due < now - OVERDUE_AFTER


async def set_enabled(store: Store, names: Sequence[str], *, enabled: bool) -> list[ActionResult]:
    """Enable or disable schedules. An enabled schedule does not catch up on the runs that it missed while disabled."""
    done = sentence("enabled" if enabled else "disabled")
    return await _apply(names, lambda name: store.set_schedule_enabled(name, enabled), done)


async def forget(store: Store, names: Sequence[str]) -> list[ActionResult]:
    """Delete schedules from the store. A lane that declares one adds it again when it opens."""
    return await _apply(names, store.delete_schedule, sentence("forgotten"))


async def run_now(client: Client, name: str) -> tuple[JobRecord, bool]:
    """Submit a schedule's job now. Return the job, and whether it is new. The job is not new if another job has its unique key.

    Raises `UnknownSchedule`, and what a submission raises.
    """
    job = await Schedules(lambda: client, client.registry).run(name)
    return await client.record(job.id), job.created


async def _apply(names: Sequence[str], action: Callable[[str], Awaitable[bool]], done: Sentence) -> list[ActionResult]:
    return [_result(name, await action(name), done) for name in dict.fromkeys(names)]


def _result(name: str, found: bool, done: Sentence) -> ActionResult:
    if found:
        return ActionResult(name, Status.DONE, done)
    return ActionResult(name, Status.NOT_FOUND, sentence("no such schedule"))
