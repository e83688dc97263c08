"""`sidelane schedules`: what fires by itself and when; enable, disable, run and forget schedules."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from sidelane.admin.documents import job_document, schedule_document
from sidelane.cli.groups import DefaultListGroup
from sidelane.cli.opening import open_client, settings_of
from sidelane.cli.options import AsJson, LaneName, StoreUrl
from sidelane.cli.output.console import output, print_json, stderr, warning, write
from sidelane.cli.output.results import ItemResult, print_results
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import duration, relative_time, timestamp
from sidelane.client.schedules import Schedules
from sidelane.model.job import JobRecord
from sidelane.model.schedule import Schedule, ScheduleList, ScheduleRecord
from sidelane.model.settings import Settings
from sidelane.processes.exit_code import Exit
from sidelane.stores.contract import Store
from sidelane.stores.factory import redact_url

COLUMNS = Columns(
    headers=("NAME", "WHEN", "IN WORDS", "TASK", "MISSED", "LAST", "LAST JOB", "NEXT", "AT"),
    expendable=("LAST JOB", "IN WORDS", "AT", "MISSED", "LAST"),
    elastic=("NAME", "IN WORDS", "TASK"),
)

MISSED = {"skip": "skipped", "once": "once", "all": "all"}

OVERDUE = 10.0
"""Seconds after its time at which a firing should have been seen to by somebody."""

commands = typer.Typer(
    cls=DefaultListGroup,
    help="What fires by itself, and when; enable, disable, run and forget schedules. Alone: list them.",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.", show_default=False)]
Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of schedules.", show_default=False)]


@commands.command("list")
def list_schedules(*, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """List the schedules: when each fires, what it submits, its last firing and the next.

    MISSED says what becomes of firings that nobody was there for: skipped, made up for once, or all of them.
    """
    settings = settings_of(store, lane)
    timetable = asyncio.run(_look(settings))
    if as_json:
        print_json([schedule_document(record, _next(record)) for record in timetable.records])
        return
    if not timetable.records:
        stderr().print(f"There is no schedule in {redact_url(settings.store)}.", style="dim")
        return
    console = output()
    write(console, fit_table(console, COLUMNS, [_row(record, timetable.now) for record in timetable.records]))
    if any(_overdue(record, timetable.now) for record in timetable.records):
        stderr().print(warning("what is overdue waits for a process that has the store open: a worker, or the API"))


@commands.command()
def enable(names: Names, *, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """Let schedules fire, from now on: what they missed while they were disabled is not made up for."""
    _on_each(settings_of(store, lane), names, lambda store, name: store.set_schedule_enabled(name), "enabled", as_json)


@commands.command()
def disable(names: Names, *, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """Let schedules fire no more until they are enabled. Jobs that they have submitted go on."""
    _on_each(
        settings_of(store, lane),
        names,
        lambda store, name: store.set_schedule_enabled(name, False),
        "disabled",
        as_json,
    )


@commands.command()
def run(name: Name, *, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """Submit a schedule's job now, and print the job's id. The times at which it fires stay as they are."""
    record, created = asyncio.run(_run(settings_of(store, lane), name))
    if not created:
        stderr().print(warning("nothing was submitted: the unfinished job of this id has the same unique key"))
    if as_json:
        print_json(job_document(record))
    else:
        output().print(record.id)


@commands.command()
def forget(name: Name, *, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """Forget a schedule that no program declares any more. One that does keeps it anew at its next start."""
    _on_each(settings_of(store, lane), [name], lambda store, name: store.delete_schedule(name), "forgotten", as_json)


async def _look(settings: Settings) -> ScheduleList:
    async with open_client(settings) as client:
        return await client.store.list_schedules()


async def _run(settings: Settings, name: str) -> tuple[JobRecord, bool]:
    async with open_client(settings) as client:
        job = await Schedules(lambda: client).run(name)
        return await client.record(job.id), job.created


def _on_each(
    settings: Settings, names: Sequence[str], verb: Callable[[Store, str], Awaitable[bool]], done: str, as_json: bool
) -> None:
    """Do something to schedules by name, and say of each whether there is one."""

    async def answers() -> list[ItemResult]:
        async with open_client(settings) as client:
            return [_answer(name, await verb(client.store, name), done) for name in dict.fromkeys(names)]

    print_results(asyncio.run(answers()), as_json=as_json, by="name")


def _answer(name: str, found: bool, done: str) -> ItemResult:
    return ItemResult(name, Exit.DONE, done) if found else ItemResult(name, Exit.UNKNOWN, "there is no such schedule")


def _row(record: ScheduleRecord, now: float) -> list[Text]:
    schedule, coming = record.schedule, _next(record)
    return [
        Text(schedule.name, "bold"),
        Text(_when(schedule)),
        Text(_in_words(schedule), "dim"),
        Text(schedule.spec.task),
        Text(MISSED[schedule.catch_up], "dim"),
        Text(relative_time(record.last, now) if record.job else "never", "" if record.job else "dim"),
        Text(record.job or "", "dim"),
        _coming(record, now),
        Text("" if coming is None else timestamp(coming)[:-3], "dim"),
    ]


def _when(schedule: Schedule) -> str:
    if schedule.every is not None:
        return f"every {duration(schedule.every)}"
    return f"{schedule.cron}  {schedule.timezone}"


def _in_words(schedule: Schedule) -> str:
    """Say a cron expression in words, where it can be read here."""
    if schedule.cron is None:
        return ""
    try:
        from cronsim import CronSim
    except ImportError:
        return ""
    return CronSim(schedule.cron, datetime.now(UTC)).explain()


def _coming(record: ScheduleRecord, now: float) -> Text:
    coming = _next(record)
    if not record.enabled:
        return Text("‖ disabled", "bold yellow")
    if coming is None:
        return Text("?", "dim")
    if _overdue(record, now):
        return Text(f"overdue, {relative_time(coming, now)}", "bold red")
    return Text(relative_time(max(coming, now), now), "green")


def _next(record: ScheduleRecord) -> float | None:
    """Give the next firing, worked out where nobody has done so yet; None where there is none, or it cannot be read here."""
    if not record.enabled:
        return None
    if record.next:
        return record.next
    try:
        return record.schedule.next(record.last)
    except ImportError:
        return None


def _overdue(record: ScheduleRecord, now: float) -> bool:
    coming = _next(record)
    return coming is not None and coming < now - OVERDUE
