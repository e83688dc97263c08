"""`sidelane limits`: how full the limits in use are, and how many jobs wait at each."""

import asyncio
from typing import Annotated

import typer
from rich.text import Text

from sidelane.admin.documents import limit_document
from sidelane.cli.filters import Most
from sidelane.cli.groups import DefaultListGroup
from sidelane.cli.opening import open_client, settings_of
from sidelane.cli.options import AsJson, LaneName, StoreUrl
from sidelane.cli.output.console import output, print_json, stderr, write
from sidelane.cli.output.states import bar
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import duration
from sidelane.model.settings import Settings
from sidelane.model.worker import LimitStats
from sidelane.stores.factory import redact_url

COLUMNS = Columns(
    headers=("LIMIT", "", "TAKEN", "PARKED", "ONE MORE"),
    expendable=("",),
    elastic=("LIMIT",),
    numbers=("TAKEN", "PARKED"),
)

NEARLY_FULL = 0.8

commands = typer.Typer(cls=DefaultListGroup, help="How full the limits in use are. Alone: list them.")


@commands.command("list")
def list_limits(
    *,
    name: Annotated[
        str,
        typer.Option(metavar="PREFIX", help="Only limits whose id, name/key, begins so.", show_default=False),
    ] = "",
    limit: Most = 50,
    as_json: AsJson = False,
    store: StoreUrl = None,
    lane: LaneName = None,
) -> None:
    """List the limits that have anything taken or waiting, the fullest first.

    TAKEN is how many of its slots, or how much of a rate's burst; PARKED jobs wait for room. ONE MORE is when a rate lets the
    next one in, in seconds.
    """
    settings = settings_of(store, lane)
    found = [each for each in asyncio.run(_look(settings)) if each.id.startswith(name)]
    found.sort(key=lambda each: (-each.held / each.most, -each.waiting, each.id))
    if as_json:
        print_json([limit_document(each) for each in found[:limit]])
        return
    if not found:
        stderr().print(f"No such limit is in use in {redact_url(settings.store)}.", style="dim")
        return
    console = output()
    write(console, fit_table(console, COLUMNS, [_row(each) for each in found[:limit]]))
    if len(found) > limit:
        stderr().print(f"These are the fullest {limit} of {len(found):,} (--limit).", style="dim")


async def _look(settings: Settings) -> list[LimitStats]:
    async with open_client(settings) as client:
        return await client.store.limits()


def _row(limit: LimitStats) -> list[Text]:
    share = min(limit.held / limit.most, 1.0)
    style = "bold red" if share >= 1 else "yellow" if share >= NEARLY_FULL else "green"
    return [
        Text(limit.id, "bold"),
        bar(share, style),
        Text(f"{limit.held:,} of {limit.most:,}", style if share >= NEARLY_FULL else ""),
        Text(f"{limit.waiting:,}", "magenta" if limit.waiting else "dim"),
        _one_more(limit),
    ]


def _one_more(limit: LimitStats) -> Text:
    """Say when one more may come: of a rate, in how many seconds; of slots, when one of its jobs is through."""
    if limit.held < limit.most and not limit.after:
        return Text("now", "dim")
    if limit.after:
        return Text(f"in {duration(limit.after)}")
    return Text("when one is through", "dim")
