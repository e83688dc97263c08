"""`sidelane schedules`: list, enable, disable, run and forget schedules."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from sidelane.admin import schedules
from sidelane.admin.actions import ActionResult, Status
from sidelane.admin.documents import job_document, schedule_document
from sidelane.admin.schedule_text import schedule_text
from sidelane.cli.changes import change, keep_line
from sidelane.cli.locate import with_client
from sidelane.cli.options import Common, DefaultListGroup, expand_options
from sidelane.cli.output.console import output, print_json, stderr, warning, write
from sidelane.cli.output.results import print_results
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import duration, relative_time, timestamp
from sidelane.client.client import Client
from sidelane.model.job import JobRecord
from sidelane.model.schedule import Schedule, ScheduleRecord
from sidelane.stores.factory import redact_url

COLUMNS = Columns(
    headers=("NAME", "WHEN", "IN WORDS", "TASK", "MISSED", "LAST", "LAST JOB", "NEXT", "AT"),
    droppable=("LAST JOB", "IN WORDS", "AT", "MISSED", "LAST"),
    shrinkable=("NAME", "IN WORDS", "TASK"),
    wrapping=("WHEN",),
)

MISSED = {"skip": "skipped", "once": "once", "all": "all"}

commands = typer.Typer(
    cls=DefaultListGroup,
    help="List, enable, disable, run and forget schedules. Without a command: list them.",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a schedule.", show_default=False)]
Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of schedules.", show_default=False)]


@commands.command("list")
@expand_options
def list_(*, common: Common) -> None:
    """List the schedules: when each runs, what it submits, its last run and its next.

    MISSED says what happens to runs that were missed while no process was up: skipped, caught up once, or all of them.
    """
    settings = common.settings()
    found = with_client(settings, lambda client: client.store.list_schedules())
    if common.as_json:
        print_json([schedule_document(record, schedules.next_run(record)) for record in found.records])
        return
    if not found.records:
        stderr().print(f"No schedule in {redact_url(settings.store)}.", style="dim")
        return
    console = output()
    write(console, fit_table(console, COLUMNS, [_row(record, found.now) for record in found.records]))
    if any(schedules.is_overdue(record, found.now) for record in found.records):
        stderr().print(warning("overdue runs need a process that has the store open: a worker, or the API"))


@commands.command()
@expand_options
def enable(names: Names, *, common: Common) -> None:
    """Enable schedules. Runs that they missed while disabled are not caught up."""
    _set_enabled(common, names, enabled=True)


@commands.command()
@expand_options
def disable(names: Names, *, common: Common) -> None:
    """Disable schedules until they are enabled again. Jobs that they have submitted go on."""
    _set_enabled(common, names, enabled=False)


@commands.command()
@expand_options
def run(name: Name, *, common: Common) -> None:
    """Submit a schedule's job now, and print the job's id. The scheduled times do not change."""
    record, created = with_client(common.settings(), lambda client: _run(client, name))
    if not created:
        stderr().print(warning("nothing was submitted: an unfinished job, whose id follows, has the same unique key"))
    if common.as_json:
        print_json(job_document(record))
    else:
        output().print(record.id)


@commands.command()
@expand_options
def forget(name: Name, *, common: Common) -> None:
    """Delete a schedule that no program declares any more. A program that declares it adds it again when it starts."""
    results = change(common.settings(), "schedule.forget", lambda client: schedules.forget(client.store, [name]))
    print_results(results, as_json=common.as_json, key="name")


async def _run(client: Client, name: str) -> tuple[JobRecord, bool]:
    record, created = await schedules.run_now(client, name)
    message = f"{record.id} {'submitted' if created else 'was submitted before'}"
    await keep_line(client.store, "schedule.run", [ActionResult(name, Status.DONE, message)])
    return record, created


def _set_enabled(common: Common, names: list[str], *, enabled: bool) -> None:
    action = "schedule.enable" if enabled else "schedule.disable"
    results = change(
        common.settings(), action, lambda client: schedules.set_enabled(client.store, names, enabled=enabled)
    )
    print_results(results, as_json=common.as_json, key="name")


def _row(record: ScheduleRecord, now: float) -> list[Text]:
    schedule, due = record.schedule, schedules.next_run(record)
    return [
        Text(schedule.name, "bold"),
        Text(_when(schedule)),
        Text(_description(schedule), "dim"),
        Text(schedule.spec.task),
        Text(MISSED[schedule.catch_up], "dim"),
        Text(relative_time(record.last, now) if record.job else "never", "" if record.job else "dim"),
        Text(record.job or "", "dim"),
        _next(record, now),
        Text("" if due is None else timestamp(due)[:-3], "dim"),
    ]


def _when(schedule: Schedule) -> str:
    if schedule.every is not None:
        return f"every {duration(schedule.every)}"
    return f"{schedule.cron}  {schedule.timezone}"


def _description(schedule: Schedule) -> str:
    """Return a cron expression in words, or "" if it has an unusual shape and the package `cronsim` is missing."""
    if schedule.cron is None:
        return ""
    if (text := schedule_text(schedule)) is not None:
        return str(text)
    try:
        from cronsim import CronSim
    except ImportError:
        return ""
    return CronSim(schedule.cron, datetime.now(UTC)).explain()


def _next(record: ScheduleRecord, now: float) -> Text:
    due = schedules.next_run(record)
    if not record.enabled:
        return Text("‖ disabled", "bold yellow")
    if due is None:
        return Text("?", "dim")
    if schedules.is_overdue(record, now):
        return Text(f"overdue, {relative_time(due, now)}", "bold red")
    return Text(relative_time(max(due, now), now), "green")
