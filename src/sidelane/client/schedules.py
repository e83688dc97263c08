"""Schedules as their users see them: declared on a lane, kept in its store, looked at, switched off and on, run out of turn."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypedDict, Unpack

from sidelane.client.client import Client
from sidelane.client.file_references import mentions_files
from sidelane.model.errors import ArgumentsError, ConfigurationError, PayloadTooLarge, UnknownSchedule
from sidelane.model.job import JobSpec
from sidelane.model.schedule import CatchUp, Schedule, ScheduleRecord
from sidelane.tasks.job import Job
from sidelane.tasks.limit_binding import as_waiting
from sidelane.tasks.task import Call, ensure_call

LABEL = "schedule"
"""The label by which the jobs of a schedule are found; its value is the schedule's name."""

TEMPLATE_ID = "scheduled"


class ScheduleTiming(TypedDict, total=False):
    """When a schedule fires; see `Schedule`."""

    cron: str | None
    every: float | None
    timezone: str
    catch_up: CatchUp
    aliases: tuple[str, ...]


class Schedules:
    """The schedules of a lane. Those it declares are kept in the store when it opens; the others there are seen too."""

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client
        self._declared: dict[str, tuple[Schedule, Call[Any]]] = {}

    def declare(self, name: str, call: Call[Any], **timing: Unpack[ScheduleTiming]) -> None:
        """Add a schedule. Raises `ConfigurationError` on one that cannot be, and on a name that is taken."""
        try:
            ensure_call(call)
        except ArgumentsError as error:
            raise ConfigurationError(f"Schedule {name!r}: {error}") from error
        schedule = Schedule(name=name, spec=_spec(name, call), **timing)
        schedule.check()
        taken = {name: other for other, _ in self._declared.values() for name in (other.name, *other.aliases)}
        for wanted in (schedule.name, *schedule.aliases):
            if wanted in taken:
                raise ConfigurationError(
                    f"{_named(name, call)}: the schedule {taken[wanted].name!r} of task {taken[wanted].spec.task!r} is, or was, "
                    f"named {wanted!r}. Give one of them another name."
                )
        self._declared[schedule.name] = schedule, call

    async def keep(self) -> None:
        """Keep in the store what this lane declares."""
        await asyncio.gather(*(self._keep(schedule, call) for schedule, call in self._declared.values()))

    async def _keep(self, schedule: Schedule, call: Call[Any]) -> None:
        store = self._client().store
        # what follows a job may have been declared after the schedule
        await store.upsert_schedule(replace(schedule, spec=_spec(schedule.name, call)))
        for alias in schedule.aliases:  # where a program of before the new name has run again meanwhile
            await store.delete_schedule(alias)

    async def list(self) -> tuple[ScheduleRecord, ...]:
        """List all schedules of the store by name, those of other programs too."""
        return (await self._client().store.list_schedules()).records

    async def enable(self, name: str) -> None:
        """Let a schedule fire, from now on. Raises `UnknownSchedule`."""
        _known(await self._client().store.set_schedule_enabled(name), name)

    async def disable(self, name: str) -> None:
        """Let a schedule fire no more, until it is enabled. Raises `UnknownSchedule`."""
        _known(await self._client().store.set_schedule_enabled(name, False), name)

    async def run(self, name: str) -> Job[Any]:
        """Submit a schedule's job now; its times stay as they are. Raises `UnknownSchedule`, and `JobRefused` as a submit does."""
        for record in await self.list():
            if record.schedule.name == name:
                submission = await self._client().submit_spec(record.schedule.new_spec())
                return Job(submission.record.id, self._client(), json.loads, submission.created)
        raise _unknown(name)

    async def forget(self, name: str) -> None:
        """Forget a schedule; the next process that declares it keeps it anew. Raises `UnknownSchedule`."""
        _known(await self._client().store.delete_schedule(name), name)


def _known(found: bool, name: str) -> None:
    if not found:
        raise _unknown(name)


def _unknown(name: str) -> UnknownSchedule:
    return UnknownSchedule(f"There is no schedule {name!r}. `sidelane schedules list` shows all.")


def _spec(name: str, call: Call[Any]) -> JobSpec:
    """Give the template of the jobs that a schedule submits. They wait at limits, for nobody is there to be refused.

    Raises `ConfigurationError` on a call that cannot be submitted again and again.
    """
    for option in ("id", "run_at"):
        if getattr(call.options, option) is not None:
            raise ConfigurationError(
                f"{_named(name, call)}: its call has {option}=…; a schedule submits a new job each time."
            )
    try:
        spec = call.spec()
    except (ArgumentsError, PayloadTooLarge) as error:
        raise ConfigurationError(f"{_named(name, call)}: {error}") from error
    if mentions_files(spec):
        raise ConfigurationError(
            f"{_named(name, call)}: its arguments name a file, which no job would hold until then."
        )
    # an id that is always the same: what has not changed is not to look new to the store
    return as_waiting(replace(spec, id=TEMPLATE_ID, labels={**spec.labels, LABEL: name}))


def _named(name: str, call: Call[Any]) -> str:
    return f"Schedule {name!r} of task {call.task.name!r}"
