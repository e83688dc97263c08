"""`sidelane messages`: list and show messages that consumers could not use, requeue and purge them, and list endpoints."""

import json
import time
from typing import Annotated

import typer
from rich.text import Text

from sidelane.admin.messages import endpoint_document, endpoint_uses
from sidelane.admin.put_aside import (
    PutAsideMessage,
    kept_copies,
    message_document,
    newest_put_aside,
    purge_messages,
    put_aside_copy,
    requeue_messages,
)
from sidelane.cli.changes import Reason, bulk_action, change_jobs
from sidelane.cli.locate import load_lane, with_client, with_jobs
from sidelane.cli.options import Common, DefaultListGroup, MaxItems, Yes, expand_options
from sidelane.cli.output.console import output, print_json, stderr, write
from sidelane.cli.output.results import confirm, print_results
from sidelane.cli.output.states import one_line
from sidelane.cli.output.tables import Columns, facts_grid, fit_table
from sidelane.cli.output.time_format import relative_time
from sidelane.client.bulk_actions import BulkKind
from sidelane.stores.factory import redact_url

COLUMNS = Columns(
    headers=("ID", "MESSAGE", "CONSUMER", "FROM", "WHEN", "TIMES", "WHY"),
    droppable=("FROM", "TIMES", "MESSAGE"),
    shrinkable=("MESSAGE", "CONSUMER", "FROM", "WHY"),
    numbers=("TIMES",),
)

ENDPOINTS = Columns(
    headers=("ENDPOINT", "FOR", "USED BY", "DEAD LETTERS", "STATE"),
    droppable=("DEAD LETTERS", "USED BY"),
    shrinkable=("ENDPOINT", "USED BY", "DEAD LETTERS", "STATE"),
)

MAX_CELL = 200
"""Characters of a cell."""

commands = typer.Typer(
    cls=DefaultListGroup,
    help="List and show messages that consumers could not use, requeue or purge them, or list endpoints. Without a command: list "
    "messages.",
)

CopyId = Annotated[
    str, typer.Argument(metavar="ID", help="Id of a message's copy, as the list shows it.", show_default=False)
]
CopyIds = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID...", help="Ids of copies, as the list shows them; or --all.", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="All messages of which a copy is kept.", show_default=False)]


@commands.command("list")
@expand_options
def list_(*, limit: MaxItems = 50, common: Common) -> None:
    """List the messages that were put aside, newest first, and why. Those without an ID have no copy that could be requeued."""
    settings = common.settings()
    found = with_client(settings, lambda client: newest_put_aside(client.store, limit))
    if common.as_json:
        print_json([each.document() for each in found])
        return
    if not found:
        stderr().print(f"No message was put aside in {redact_url(settings.store)}.", style="dim")
        return
    console, now = output(), time.time()
    write(console, fit_table(console, COLUMNS, [_row(each, now) for each in found]))
    if len(found) == limit:
        stderr().print(f"These are the newest {limit}; there may be more (--limit).", style="dim")


@commands.command()
@expand_options
def show(copy_id: CopyId, *, common: Common) -> None:
    """Show a message: why it was put aside, its attributes and its body."""
    copy = with_jobs(common.settings(), [copy_id], lambda client, ids: put_aside_copy(client.store, ids[0]))
    document = message_document(copy)
    if common.as_json:
        print_json(document)
        return
    console = output()
    names = ("message", "consumer", "state", "job", "group")
    facts = [(name, str(document[name] or "")) for name in names]
    attributes = json.dumps(document["attributes"], ensure_ascii=False) if document["attributes"] else ""
    why = ("why", Text(one_line(document["reason"], MAX_CELL), "red"))
    write(console, facts_grid([*facts, why, ("attributes", attributes)]), Text("Body", "bold"), Text(document["body"]))


@commands.command()
@expand_options
def requeue(
    ids: CopyIds = None, *, everything: All = False, reason: Reason = "", yes: Yes = False, common: Common
) -> None:
    """Let a worker handle messages again, as if they had just arrived. A message stays in the list until its job is committed."""
    _require_ids_or_all(ids, everything=everything)
    if ids:
        results = change_jobs(
            common.settings(),
            ids,
            "message.requeue",
            lambda client, full: requeue_messages(client.store, full),
            reason=reason,
        )
        print_results(results, as_json=common.as_json)
    else:
        _bulk(common, BulkKind.REQUEUE, reason=reason, yes=yes)


@commands.command()
@expand_options
def purge(
    ids: CopyIds = None, *, everything: All = False, reason: Reason = "", yes: Yes = False, common: Common
) -> None:
    """Delete the copies of messages. What their transport has put aside stays there."""
    _require_ids_or_all(ids, everything=everything)
    if ids:
        confirm(f"Permanently delete {len(ids):,} {'copy' if len(ids) == 1 else 'copies'} of messages?", yes=yes)
        results = change_jobs(
            common.settings(),
            ids,
            "message.purge",
            lambda client, full: purge_messages(client.store, full),
            reason=reason,
        )
        print_results(results, as_json=common.as_json)
    else:
        _bulk(common, BulkKind.PURGE, reason=reason, yes=yes)


@commands.command()
@expand_options
def endpoints(*, common: Common) -> None:
    """List the endpoints that a lane uses, and for what. The lane is that of --lane, or of SIDELANE_LANE."""
    lane = load_lane(common.lane)
    workers = with_client(common.settings(), lambda client: client.store.workers())
    uses = endpoint_uses(lane, workers)
    if common.as_json:
        print_json(list(map(endpoint_document, uses)))
        return
    if not uses:
        stderr().print("The lane declares no consumer and no external task.", style="dim")
        return
    console = output()
    rows = [
        [
            Text(each.endpoint, "bold"), Text(each.use), Text(", ".join(each.names)), Text(each.dead_letters or "", "dim"),
            Text(one_line(next(iter(each.errors.values())), MAX_CELL), "red") if each.errors else Text("● ok", "green"),
        ]
        for each in uses
    ]  # fmt: skip
    write(console, fit_table(console, ENDPOINTS, rows))


def _require_ids_or_all(ids: list[str] | None, *, everything: bool) -> None:
    """Raise `typer.BadParameter` unless either ids or --all are given."""
    if bool(ids) == everything:
        raise typer.BadParameter("give ids, or --all.", param_hint="ID...")


def _bulk(common: Common, kind: BulkKind, *, reason: str, yes: bool) -> None:
    bulk_action(
        common.settings(), kind, kept_copies, noun="message", chosen="", reason=reason, yes=yes, as_json=common.as_json
    )


def _row(message: PutAsideMessage, now: float) -> list[Text]:
    noted, copy = message.noted, message.copy
    again = copy is not None and not copy.state.finished
    return [
        Text("" if copy is None else copy.id),
        Text(one_line(noted.message, MAX_CELL)),
        Text(one_line(noted.receiver, MAX_CELL) or "replies", "bold" if noted.receiver else "dim"),
        Text(one_line(noted.endpoint, MAX_CELL), "dim"),
        Text(relative_time(noted.at, now), "dim"),
        Text(f"{message.times:,}" if message.times > 1 else "", "yellow"),
        Text("a worker handles it again", "yellow") if again else Text(one_line(message.reason, MAX_CELL), "red"),
    ]
