"""`sidelane bulk`: list and show the bulk actions of the last day, and stop one."""

import time
from typing import Annotated

import typer
from rich.text import Text

from sidelane.admin.actions import ActionResult, Status
from sidelane.admin.bulk import BulkState, read_action, recent_actions, stop
from sidelane.cli.changes import change, operator_name
from sidelane.cli.locate import with_client
from sidelane.cli.options import Common, DefaultListGroup, expand_options
from sidelane.cli.output.console import output, print_json, stderr, write
from sidelane.cli.output.results import print_results
from sidelane.cli.output.states import one_line
from sidelane.cli.output.tables import Columns, facts_grid, fit_table
from sidelane.cli.output.time_format import relative_time
from sidelane.client.client import Client
from sidelane.stores.factory import redact_url

COLUMNS = Columns(
    headers=("ID", "ACTION", "STATE", "DONE", "JOBS", "BY", "CAPTURED", "FILTER"),
    droppable=("CAPTURED", "BY"),
    shrinkable=("BY", "FILTER"),
    numbers=("DONE", "JOBS"),
)

MAX_CELL = 200
"""Characters of a cell."""

STYLES = {"running": "bold cyan", "done": "green", "stopped": "magenta", "interrupted": "bold red"}

commands = typer.Typer(
    cls=DefaultListGroup,
    help="List and show the bulk actions of the last day, and stop one. Without a command: list them.",
)

ActionId = Annotated[
    str, typer.Argument(metavar="ID", help="Id of a bulk action, as the list shows it.", show_default=False)
]


@commands.command("list")
@expand_options
def list_(*, common: Common) -> None:
    """List the bulk actions of the last day, newest first: what was done to which jobs, by whom, and how far it is.

    `sidelane jobs cancel --all`, `requeue --all` and `purge --all` begin one, and so does the dashboard.
    """
    settings = common.settings()
    found = with_client(settings, lambda client: recent_actions(client.store))
    if common.as_json:
        print_json([each.document() for each in found])
    elif found:
        console, now = output(), time.time()
        write(console, fit_table(console, COLUMNS, [_row(each, now) for each in found]))
    else:
        stderr().print(f"No bulk action in {redact_url(settings.store)} within a day.", style="dim")


@commands.command()
@expand_options
def show(action_id: ActionId, *, common: Common) -> None:
    """Show a bulk action: its filter, its progress, and the first 100 jobs that were left alone, with the reasons."""
    found = with_client(common.settings(), lambda client: read_action(client.store, action_id))
    if common.as_json:
        print_json(found.document())
        return
    action, console = found.action, output()
    left = f"{action.done:,} done, {action.skipped:,} left alone, {action.failed:,} refused"
    facts = [
        ("action", f"{action.kind}, {found.state}"),
        ("filter", action.filter),
        ("jobs", f"{action.handled:,} of {action.count:,}: {left}"),
        ("by", action.confirmed_by or action.by),
        ("reason", action.reason),
        ("stopped by", action.stopped_by),
    ]
    write(console, facts_grid(facts))
    for note in action.notes:
        write(
            console,
            Text.assemble(f"  {note.job}  ", (one_line(note.reason, MAX_CELL), "red" if note.failed else "dim")),
        )


@commands.command("stop")
@expand_options
def stop_(action_id: ActionId, *, common: Common) -> None:
    """Stop a bulk action after its current step. What is done stays done."""
    print_results(
        change(common.settings(), "bulk.stop", lambda client: _stop(client, action_id)), as_json=common.as_json
    )


async def _stop(client: Client, action_id: str) -> list[ActionResult]:
    action = await stop(client.store, action_id, by=operator_name())
    by = action.stopped_by
    message = f"stopped after {action.handled:,} of {action.count:,}" if by else "it had ended before"
    return [ActionResult(action_id, Status.DONE, message, {"action": action.kind})]


def _row(found: BulkState, now: float) -> list[Text]:
    action = found.action
    return [
        Text(action.id),
        Text(action.kind, "bold"),
        Text(found.state, STYLES.get(found.state, "yellow")),
        Text(f"{action.done:,}"),
        Text(f"{action.count:,}"),
        Text(one_line(action.confirmed_by or action.by, MAX_CELL)),
        Text(relative_time(action.captured, now), "dim"),
        Text(one_line(action.filter, MAX_CELL), "dim"),
    ]
