"""Schedules as their users see them: declared on a lane, kept in its store, looked at, switched off and on, run out of turn."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sidelane.engine.client import Client
from sidelane.engine.handle import Job
from sidelane.engine.task import Call
from sidelane.model.errors import ArgumentsError, ConfigurationError, UnknownSchedule
from sidelane.model.job import JobSpec
from sidelane.model.schedule import Schedule, ScheduleRecord

LABEL = "schedule"
"""The label by which the jobs of a schedule are found; its value is the schedule's name."""

SAME_ID = "scheduled"


def scheduled(call: Call[Any], name: str) -> JobSpec:
    """Give the template of the jobs that a schedule submits: admitted as if every limit said "wait", like follow-ups.

    Raises `ConfigurationError` on a call that cannot be submitted again and again.
    """
    what = f"Schedule {name!r} of task {call.task.name!r}"
    for option in ("id", "run_at"):
        if getattr(call.options, option) is not None:
            raise ConfigurationError(f"{what}: its call has {option}=…; a schedule submits a new job each time.")
    if call.given:
        raise ConfigurationError(f"{what}: its call follows nothing that could give it {', '.join(call.given)}.")
    try:
        template = call.template()
    except ArgumentsError as error:
        raise ConfigurationError(f"{what}: {error}") from error
    # an id that is always the same: what has not changed is not to look new to the store
    return replace(template, id=SAME_ID, labels={**template.labels, LABEL: name})


class Schedules:
    """The schedules of a lane. Those it declares are kept in the store when it opens; the others there are seen too."""

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client
        self._declared: dict[str, Schedule] = {}

    def declare(self, schedule: Schedule) -> None:
        """Add a schedule. Raises `ConfigurationError` on one that cannot be, and on a name that is taken."""
        schedule.check()
        taken = {name: other for other in self._declared.values() for name in (other.name, *other.aliases)}
        for name in (schedule.name, *schedule.aliases):
            if name in taken:
                raise ConfigurationError(
                    f"Schedule {schedule.name!r} of task {schedule.spec.task!r}: the schedule {taken[name].name!r} of task "
                    f"{taken[name].spec.task!r} is, or was, named {name!r}. Give one of them another name."
                )
        self._declared[schedule.name] = schedule

    async def keep(self) -> None:
        """Keep in the store what this lane declares."""
        await asyncio.gather(*(self._keep(schedule) for schedule in self._declared.values()))

    async def _keep(self, schedule: Schedule) -> None:
        store = self._client().store
        await store.keep_schedule(schedule)
        for alias in schedule.aliases:  # where a program of before the new name has run again meanwhile
            await store.forget_schedule(alias)

    async def list(self) -> tuple[ScheduleRecord, ...]:
        """List all schedules of the store by name, those of other programs too."""
        return (await self._client().store.schedules()).records

    async def enable(self, name: str) -> None:
        """Let a schedule fire, from now on. Raises `UnknownSchedule`."""
        _known(await self._client().store.enable_schedule(name), name)

    async def disable(self, name: str) -> None:
        """Let a schedule fire no more, until it is enabled. Raises `UnknownSchedule`."""
        _known(await self._client().store.enable_schedule(name, False), name)

    async def run(self, name: str) -> Job[Any]:
        """Submit a schedule's job now; its times stay as they are. Raises `UnknownSchedule`, and `JobRefused` as a submit does."""
        for record in await self.list():
            if record.schedule.name == name:
                submission = await self._client().submit_spec(record.schedule.new_spec())
                return Job(submission.record.id, self._client(), json.loads, submission.created)
        raise _unknown(name)

    async def forget(self, name: str) -> None:
        """Forget a schedule; the next process that declares it keeps it anew. Raises `UnknownSchedule`."""
        _known(await self._client().store.forget_schedule(name), name)


def _known(found: bool, name: str) -> None:
    if not found:
        raise _unknown(name)


def _unknown(name: str) -> UnknownSchedule:
    return UnknownSchedule(f"There is no schedule {name!r}. `sidelane schedules list` shows all.")
