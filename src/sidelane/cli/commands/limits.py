"""`sidelane limits`: list the limits in use, how full they are, and how many jobs wait for each; show the jobs of one."""

import time
from dataclasses import replace
from typing import Annotated

import typer
from rich.text import Text

from sidelane.admin.documents import job_document, limit_document
from sidelane.admin.limits import LimitJobs, fullest_first, jobs_of_limit
from sidelane.cli.locate import with_client
from sidelane.cli.options import Common, DefaultListGroup, MaxItems, expand_options
from sidelane.cli.output.console import output, print_json, stderr, write
from sidelane.cli.output.job_table import jobs_table
from sidelane.cli.output.states import bar
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import duration
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

NEARLY_FULL = 0.8

PAGE_SIZE = 100
"""Jobs that are read at once."""

commands = typer.Typer(
    cls=DefaultListGroup, help="List the limits in use, or show the jobs of one. Without a command: list them."
)


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
    """
    settings = common.settings()
    limits = with_client(settings, lambda client: client.store.limits())
    found = fullest_first(each for each in limits if each.id.startswith(name))
    if common.as_json:
        print_json([limit_document(each) for each in found[:limit]])
        return
    if not found:
        which = "No matching limit" if name else "No limit"
        stderr().print(f"{which} is in use in {redact_url(settings.store)}.", style="dim")
        return
    console = output()
    write(console, fit_table(console, COLUMNS, [_row(each) for each in found[:limit]]))
    if len(found) > limit:
        stderr().print(f"These are the fullest {limit} of {len(found):,} (--limit).", style="dim")


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
    stats, jobs = with_client(settings, lambda client: _read(client.store, limit_id, limit))
    if common.as_json:
        print_json(
            {
                **(limit_document(stats) if stats is not None else {"id": limit_id, "used": 0}),
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
    for title, records in (("Jobs that use it", jobs.running), ("Jobs that wait for it", jobs.waiting)):
        if records:
            write(console, Text(), Text(title, "bold"), jobs_table(console, records, now))
    if len(jobs.waiting) < stats.waiting:
        more = f"{stats.waiting:,} jobs wait; these are the first {len(jobs.waiting):,} to start (--limit)."
        stderr().print(more, style="dim")


async def _read(store: Store, limit_id: str, count: int) -> tuple[LimitStats | None, LimitJobs]:
    """Return a limit if it is in use, and its jobs, `count` of those that wait."""
    stats = next((each for each in await store.limits() if each.id == limit_id), None)
    jobs = await jobs_of_limit(store, limit_id, count=min(count, PAGE_SIZE))
    waiting = [*jobs.waiting]
    while jobs.next is not None and len(waiting) < count:
        jobs = await jobs_of_limit(store, limit_id, after=jobs.next, count=min(count - len(waiting), PAGE_SIZE))
        waiting += jobs.waiting
    return stats, replace(jobs, waiting=waiting)


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
