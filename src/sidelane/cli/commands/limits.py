"""`sidelane limits`: list the limits in use, how full they are, and how many jobs wait for each."""

from typing import Annotated

import typer
from rich.text import Text

from sidelane.admin.documents import limit_document
from sidelane.admin.limits import fullest_first
from sidelane.cli.locate import with_client
from sidelane.cli.options import Common, DefaultListGroup, MaxItems, expand_options
from sidelane.cli.output.console import output, print_json, stderr, write
from sidelane.cli.output.states import bar
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import duration
from sidelane.model.worker import LimitStats
from sidelane.stores.factory import redact_url

COLUMNS = Columns(
    headers=("LIMIT", "", "USED", "WAITING", "AVAILABLE"),
    droppable=("",),
    shrinkable=("LIMIT",),
    numbers=("USED", "WAITING"),
)

NEARLY_FULL = 0.8

commands = typer.Typer(cls=DefaultListGroup, help="List the limits in use. Without a command: list them.")


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
