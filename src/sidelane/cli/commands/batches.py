"""`sidelane batches`: list, show, watch and cancel batches of jobs."""

import time
from contextlib import aclosing
from typing import Annotated

import typer
from rich.text import Text

from sidelane.admin.actions import ActionResult, cancel_batch
from sidelane.admin.batches import MAX_SEARCHED, newest_batches
from sidelane.admin.documents import batch_document, follow_up_document
from sidelane.cli.changes import change
from sidelane.cli.locate import with_client
from sidelane.cli.options import Common, DefaultListGroup, MaxItems, expand_options
from sidelane.cli.output.batch_detail import BatchLines, BatchProgress, BatchView, print_batch
from sidelane.cli.output.console import interactive, output, print_json, stderr, write
from sidelane.cli.output.results import print_results
from sidelane.cli.output.states import DOTS, STYLES
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import relative_time
from sidelane.client.client import Client
from sidelane.client.event_stream import batch_record, stream_batch
from sidelane.model.batch import BatchRecord
from sidelane.model.job import State
from sidelane.processes.exit_code import Exit
from sidelane.stores.contract import Store
from sidelane.stores.factory import redact_url

COLUMNS = Columns(
    headers=("ID", "STATE", "JOBS", "FAILED", "USER", "SUBMITTED"),
    droppable=("USER", "SUBMITTED"),
    shrinkable=("USER",),
    numbers=("JOBS", "FAILED"),
)

commands = typer.Typer(
    cls=DefaultListGroup, help="List, show, watch and cancel batches of jobs. Without a command: list them."
)

BatchId = Annotated[str, typer.Argument(metavar="ID", help="Id of a batch.", show_default=False)]


@commands.command("list")
@expand_options
def list_(*, limit: MaxItems = 50, common: Common) -> None:
    """List the batches of the newest 1,000 jobs, newest first. An older batch can be shown by its id."""
    settings = common.settings()
    found = with_client(settings, lambda client: newest_batches(client.store))
    if common.as_json:
        print_json([batch_document(each) for each in found[:limit]])
        return
    if not found:
        stderr().print(
            f"None of the newest {MAX_SEARCHED:,} jobs in {redact_url(settings.store)} has a batch.", style="dim"
        )
        return
    console, now = output(), time.time()
    write(console, fit_table(console, COLUMNS, [_row(each, now) for each in found[:limit]]))


@commands.command()
@expand_options
def show(batch_id: BatchId, *, common: Common) -> None:
    """Show the progress of a batch: how many of its jobs have ended, and in which state."""
    record = with_client(common.settings(), lambda client: batch_record(client.store, batch_id))
    if common.as_json:
        follow_ups = list(map(follow_up_document, record.spec.follow_ups))
        print_json({**batch_document(record), "follow_ups": follow_ups})
    else:
        print_batch(record)


@commands.command()
@expand_options
def watch(batch_id: BatchId, *, common: Common) -> None:
    """Follow a batch until it ends: a bar on a terminal, otherwise (and with --json) one JSON document per line.

    The exit code is 0 if all its jobs succeeded, else 1.
    """
    view: BatchView = BatchProgress() if interactive(stderr()) and not common.as_json else BatchLines()
    record = with_client(common.settings(), lambda client: _watch(client.store, batch_id, view))
    raise typer.Exit(Exit.DONE if record.state is State.SUCCEEDED else Exit.FAILED)


@commands.command()
@expand_options
def cancel(batch_id: BatchId, *, common: Common) -> None:
    """Cancel the rest of a batch: no more jobs can be added, queued ones are cancelled, running ones are asked to stop."""

    async def act(client: Client) -> list[ActionResult]:
        return [await cancel_batch(client.store, batch_id)]

    print_results(change(common.settings(), "batch.cancel", act), as_json=common.as_json)


async def _watch(store: Store, batch_id: str, view: BatchView) -> BatchRecord:
    record = await batch_record(store, batch_id)
    with view:
        async with aclosing(stream_batch(store, batch_id)) as records:
            async for record in records:
                view.show(record)
    return record


def _row(batch: BatchRecord, now: float) -> list[Text]:
    total = f"{batch.total - batch.unfinished:,} of {batch.total:,}{'' if batch.sealed else ' so far'}"
    return [
        Text(batch.id),
        Text(f"{DOTS[batch.state]} {batch.state}", STYLES[batch.state]),
        Text(total),
        Text(f"{batch.failed:,}" if batch.failed else "", "red"),
        Text(batch.spec.user or ""),
        Text(relative_time(batch.submitted, now), "dim"),
    ]
