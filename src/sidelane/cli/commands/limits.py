"""`sidelane limits`: list the limits in use, show the jobs of one, and change and restore numbers."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer
from rich.text import Text

from sidelane.admin.actions import ActionResult
from sidelane.admin.documents import Document, job_document, limit_document
from sidelane.admin.limits import (
    ChangedLimit,
    LimitChange,
    LimitJobs,
    change_in_force,
    change_limit,
    changed_limits,
    fullest_first,
    jobs_of_limit,
    numbers_text,
    position_of,
    restore_limit,
)
from sidelane.cli.changes import Reason, change, operator_name
from sidelane.cli.locate import with_client
from sidelane.cli.options import Common, DefaultListGroup, MaxItems, expand_options
from sidelane.cli.output.console import output, print_json, stderr, write
from sidelane.cli.output.job_table import jobs_table
from sidelane.cli.output.results import print_results
from sidelane.cli.output.states import bar
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import duration
from sidelane.client.client import Client
from sidelane.model.durations import duration_of, time_of
from sidelane.model.printable import printable_line
from sidelane.model.worker import LimitStats
from sidelane.stores.contract import Store
from sidelane.stores.factory import redact_url

COLUMNS = Columns(
    headers=("LIMIT", "", "USED", "WAITING", "AVAILABLE"),
    droppable=("",),
    shrinkable=("LIMIT",),
    numbers=("USED", "WAITING"),
)

CHANGED_COLUMNS = Columns(
    headers=("CHANGED LIMIT", "NUMBER", "DECLARED", "LEFT", "BY", "REASON"),
    droppable=("BY", "DECLARED"),
    shrinkable=("CHANGED LIMIT", "REASON"),
)

NEARLY_FULL = 0.8

PAGE_SIZE = 100
"""Jobs that are read at once."""

commands = typer.Typer(
    cls=DefaultListGroup, help="List, show, change and restore limits. Without a command: list them."
)

LimitName = Annotated[
    str,
    typer.Argument(
        metavar="NAME[/KEY]", help="The name of a limit, for all its keys, or the id of one.", show_default=False
    ),
]


def _seconds(text: str) -> float:
    """Return the seconds from now until a time, or of a duration."""
    try:
        return duration_of(text)
    except ValueError:
        pass
    now = time.time()
    try:
        return time_of(text, now) - now
    except ValueError:
        raise typer.BadParameter(f"{text!r}: write how long, e.g. 2h, or a time, e.g. 2026-05-01T09:30.") from None


@commands.command("list")
@expand_options
def list_(
    *,
    name: Annotated[
        str,
        typer.Option(metavar="PREFIX", help="Only limits whose id, NAME/KEY, starts with this.", show_default=False),
    ] = "",
    limit: MaxItems = 50,
    common: Common,
) -> None:
    """List the limits that are in use or have waiting jobs, the fullest first.

    USED is the number of slots in use, or the part of a rate limit's burst. WAITING is the number of jobs that wait for the
    limit. AVAILABLE is when the limit admits the next job.

    Below them are the limits whose numbers were changed with `sidelane limits set`.
    """
    settings = common.settings()
    limits, changed = with_client(settings, lambda client: _read_list(client.store))
    found = fullest_first(each for each in limits if each.id.startswith(name))
    if common.as_json:
        print_json([_document(each, changed) for each in found[:limit]])
        return
    console = output()
    if found:
        write(console, fit_table(console, COLUMNS, [_row(each) for each in found[:limit]]))
    else:
        which = "No matching limit" if name else "No limit"
        stderr().print(f"{which} is in use in {redact_url(settings.store)}.", style="dim")
    if len(found) > limit:
        stderr().print(f"These are the fullest {limit} of {len(found):,} (--limit).", style="dim")
    if matching := [each for each in changed if each.override.id.startswith(name)]:
        write(console, Text())
        _write_changed(matching)


@commands.command("changed")
@expand_options
def changed_(*, common: Common) -> None:
    """List the limits whose numbers were changed with `sidelane limits set`, in use or not. LEFT is when each change ends."""
    settings = common.settings()
    changed = with_client(settings, lambda client: changed_limits(client.store))
    if common.as_json:
        print_json([each.document() for each in changed])
    elif changed:
        _write_changed(changed)
    else:
        stderr().print(f"Every limit in {redact_url(settings.store)} has its declared number.", style="dim")


@commands.command()
@expand_options
def show(
    limit_id: Annotated[
        str, typer.Argument(metavar="NAME/KEY", help="Id of a limit, as the list shows it.", show_default=False)
    ],
    *,
    limit: MaxItems = 50,
    common: Common,
) -> None:
    """Show how full a limit is, which jobs use it, and which wait for it, the first to start first."""
    settings = common.settings()
    stats, changed, jobs = with_client(settings, lambda client: _read(client.store, limit_id, limit))
    if common.as_json:
        print_json(
            {
                **(_document(stats, changed) if stats is not None else {"id": limit_id, "used": 0}),
                "using": list(map(job_document, jobs.running)),
                "waiting": list(map(job_document, jobs.waiting)),
            }
        )
        return
    if stats is None:
        stderr().print(Text(f"Limit {printable_line(limit_id)} is not in use in {redact_url(settings.store)}.", "dim"))
        return
    console, now = output(), time.time()
    write(console, fit_table(console, COLUMNS, [_row(stats)]))
    if change := change_in_force(changed, limit_id):
        write(console, Text())
        _write_changed([change])
    for title, records in (("Jobs that use it", jobs.running), ("Jobs that wait for it", jobs.waiting)):
        if records:
            write(console, Text(), Text(title, "bold"), jobs_table(console, records, now))
    if len(jobs.waiting) < stats.waiting:
        more = f"{stats.waiting:,} jobs wait; these are the first {len(jobs.waiting):,} to start (--limit)."
        stderr().print(more, style="dim")


@commands.command("set")
@expand_options
def set_(
    name: LimitName,
    number: Annotated[
        str, typer.Argument(metavar="NUMBER|RATE", help="A number of jobs, or a rate: 20/minute.", show_default=False)
    ],
    *,
    until: Annotated[
        float | None,
        typer.Option(
            parser=_seconds,
            metavar="DURATION|TIME",
            help="Restore the declared number after 2h, or at 2026-05-01T09:30. Default: only you restore it.",
            show_default=False,
        ),
    ] = None,
    reason: Reason = "",
    common: Common,
) -> None:
    """Change the number of a limit while the service runs, for queued jobs too. Running jobs go on.

    Jobs that may start by the new number start at once. The number of one key comes before that of all keys.
    """
    wanted = LimitChange(number=number, by=operator_name(), reason=reason, seconds=until)

    async def act(client: Client) -> Sequence[ActionResult]:
        return [await change_limit(client.store, name, wanted)]

    results = change(common.settings(), "limit.change", act, reason=reason)
    print_results(results, as_json=common.as_json)


@commands.command()
@expand_options
def reset(name: LimitName, *, reason: Reason = "", common: Common) -> None:
    """Restore the declared number of a limit."""

    async def act(client: Client) -> Sequence[ActionResult]:
        return [await restore_limit(client.store, name)]

    results = change(common.settings(), "limit.restore", act, reason=reason)
    print_results(results, as_json=common.as_json)


async def _read_list(store: Store) -> tuple[list[LimitStats], list[ChangedLimit]]:
    return await store.limits(), await changed_limits(store)


def _document(limit: LimitStats, changed: Sequence[ChangedLimit]) -> Document:
    change = change_in_force(changed, limit.id)
    return {**limit_document(limit), "changed": None if change is None else change.document()}


def _write_changed(changed: Sequence[ChangedLimit]) -> None:
    now, console = time.time(), output()
    write(console, fit_table(console, CHANGED_COLUMNS, [_changed_row(each, now) for each in changed]))


def _changed_row(changed: ChangedLimit, now: float) -> list[Text]:
    override, declared = changed.override, changed.declared
    return [
        Text(override.id if override.key is not None else f"{override.name} (all keys)", "bold"),
        Text(str(numbers_text(override)), "yellow"),
        Text("" if declared is None else str(numbers_text(declared)), "dim"),
        Text("until restored" if override.until is None else duration(max(0.0, override.until - now))),
        Text(override.by),
        Text(override.reason),
    ]


async def _read(store: Store, limit_id: str, count: int) -> tuple[LimitStats | None, Sequence[ChangedLimit], LimitJobs]:
    """Return a limit if it is in use, all changed limits, and the jobs of the limit, `count` of those that wait."""
    limits, changed = await _read_list(store)
    stats = next((each for each in limits if each.id == limit_id), None)
    jobs = await jobs_of_limit(store, limit_id, count=min(count, PAGE_SIZE))
    waiting, after = [*jobs.waiting], jobs.next
    while after is not None and len(waiting) < count:
        page = await store.waiting_jobs(limit_id, after=after, limit=min(count - len(waiting), PAGE_SIZE))
        waiting += page
        after = position_of(page[-1]) if page else None
    return stats, changed, replace(jobs, waiting=waiting)


def _row(limit: LimitStats) -> list[Text]:
    share = min(limit.used / limit.max, 1.0)
    style = "bold red" if share >= 1 else "yellow" if share >= NEARLY_FULL else "green"
    return [
        Text(limit.id, "bold"),
        bar(share, style),
        Text(f"{limit.used:,} of {limit.max:,}", style if share >= NEARLY_FULL else ""),
        Text(f"{limit.waiting:,}", "magenta" if limit.waiting else "dim"),
        _available(limit),
    ]


def _available(limit: LimitStats) -> Text:
    """Return when the limit admits the next job: a rate limit after a time, a concurrency limit when a job ends."""
    if limit.used < limit.max and not limit.available_in:
        return Text("now", "dim")
    if limit.available_in:
        return Text(f"in {duration(limit.available_in)}")
    return Text("when a job ends", "dim")
