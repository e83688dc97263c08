"""Schedules: their declaration on a lane, and the actions on those of its store (list, enable, disable, run, delete)."""

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
from sidelane.tasks.task import Call, check_lane, ensure_call

LABEL = "schedule"
"""The label of the jobs of a schedule; its value is the schedule's name."""

TEMPLATE_ID = "scheduled"


class ScheduleTiming(TypedDict, total=False):
    """The times of a schedule; see `Schedule`."""

    cron: str | None
    every: float | None
    timezone: str
    catch_up: CatchUp
    aliases: tuple[str, ...]


class Schedules:
    """The schedules of a lane's store. Schedules that the lane declares are saved when it opens. `registry` is the lane's."""

    def __init__(self, client: Callable[[], Client], registry: object) -> None:
        self._client = client
        self._registry = registry
        self._declared: dict[str, tuple[Schedule, Call[Any]]] = {}

    def declare(self, name: str, call: Call[Any], **timing: Unpack[ScheduleTiming]) -> None:
        """Add a schedule. Raises `ConfigurationError` if it is invalid or its name is taken."""
        try:
            check_lane(ensure_call(call), self._registry)
        except (ArgumentsError, ConfigurationError) as error:
            raise ConfigurationError(f"Schedule {name!r}: {error}") from error
        schedule = Schedule(name=name, spec=_spec(name, call), **timing)
        schedule.check()
        taken = {name: other for other, _ in self._declared.values() for name in (other.name, *other.aliases)}
        for each in (schedule.name, *schedule.aliases):
            if each in taken:
                raise ConfigurationError(
                    f"{_named(name, call)}: the schedule {taken[each].name!r} of task {taken[each].spec.task!r} is, or was, "
                    f"named {each!r}. Give one of them another name."
                )
        self._declared[schedule.name] = schedule, call

    async def save(self) -> None:
        """Save the declared schedules in the store."""
        await asyncio.gather(*(self._save(schedule, call) for schedule, call in self._declared.values()))

    async def _save(self, schedule: Schedule, call: Call[Any]) -> None:
        store = self._client().store
        # a follow-up may have been declared after the schedule
        await store.upsert_schedule(replace(schedule, spec=_spec(schedule.name, call)))
        for alias in schedule.aliases:  # in case a program that still uses the former name has run meanwhile
            await store.delete_schedule(alias)

    async def list(self) -> tuple[ScheduleRecord, ...]:
        """Return all schedules of the store by name, also those of other programs."""
        return (await self._client().store.list_schedules()).records

    async def enable(self, name: str) -> None:
        """Enable a schedule from now on. Raises `UnknownSchedule`."""
        _check_found(await self._client().store.set_schedule_enabled(name), name)

    async def disable(self, name: str) -> None:
        """Disable a schedule until it is enabled. Raises `UnknownSchedule`."""
        _check_found(await self._client().store.set_schedule_enabled(name, False), name)

    async def run(self, name: str) -> Job[Any]:
        """Submit a schedule's job now, without changing the schedule's times. Raises `UnknownSchedule` or an error of a submit."""
        for record in await self.list():
            if record.schedule.name == name:
                submission = await self._client().submit_spec(record.schedule.new_spec())
                return Job(submission.record.id, self._client(), json.loads, submission.created)
        raise _unknown(name)

    async def forget(self, name: str) -> None:
        """Delete a schedule. The next process that declares it saves it again. Raises `UnknownSchedule`."""
        _check_found(await self._client().store.delete_schedule(name), name)


def _check_found(found: bool, name: str) -> None:
    if not found:
        raise _unknown(name)


def _unknown(name: str) -> UnknownSchedule:
    return UnknownSchedule(f"There is no schedule {name!r}. `sidelane schedules list` shows all.")


def _spec(name: str, call: Call[Any]) -> JobSpec:
    """Return the template of a schedule's jobs. These jobs wait for limits instead of being rejected.

    Raises `ConfigurationError` if the call cannot be submitted repeatedly.
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
            f"{_named(name, call)}: its arguments name a file, which no job references until then."
        )
    # always the same id, so that the store sees an unchanged schedule as unchanged
    return as_waiting(replace(spec, id=TEMPLATE_ID, labels={**spec.labels, LABEL: name}))


def _named(name: str, call: Call[Any]) -> str:
    return f"Schedule {name!r} of task {call.task.name!r}"
