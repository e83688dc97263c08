"""`sidelane batches`: list, show, watch, pause, resume and cancel batches of jobs."""

import time
from contextlib import aclosing
from typing import Annotated

import typer
from rich.text import Text

from sidelane.admin.actions import ActionResult, cancel_batch
from sidelane.admin.batches import MAX_SEARCHED, newest_batches
from sidelane.admin.documents import Document, batch_document, follow_up_document
from sidelane.admin.pauses import pause_document, pause_text, set_batches_paused
from sidelane.cli.changes import PauseOptions, change
from sidelane.cli.locate import with_client
from sidelane.cli.options import Common, DefaultListGroup, MaxItems, expand_options
from sidelane.cli.output.batch_detail import BatchLines, BatchProgress, BatchView, batch_state, print_batch
from sidelane.cli.output.console import interactive, output, print_json, stderr, write
from sidelane.cli.output.results import print_results
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import relative_time
from sidelane.client.client import Client
from sidelane.client.event_stream import batch_record, stream_batch
from sidelane.client.pauses import Pause, Pauses, read_pauses
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
    cls=DefaultListGroup, help="List, show, watch, pause, resume and cancel batches. Without a command: list them."
)

BatchId = Annotated[str, typer.Argument(metavar="ID", help="Id of a batch.", show_default=False)]
BatchIds = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of batches.", show_default=False)]


@commands.command("list")
@expand_options
def list_(*, limit: MaxItems = 50, common: Common) -> None:
    """List the batches of the newest 1,000 jobs, newest first. An older batch can be shown by its id."""
    settings = common.settings()
    found, pauses = with_client(settings, lambda client: _read(client.store))
    if common.as_json:
        print_json([_document(each, pauses.batches.get(each.id)) for each in found[:limit]])
        return
    if not found:
        stderr().print(
            f"None of the newest {MAX_SEARCHED:,} jobs in {redact_url(settings.store)} has a batch.", style="dim"
        )
        return
    console, now = output(), time.time()
    write(console, fit_table(console, COLUMNS, [_row(each, now) for each in found[:limit]]))
    for each in found[:limit]:
        if each.paused and (text := pause_text(pauses.batches.get(each.id), now)):
            stderr().print(f"{each.id} is paused {text}", style="dim", markup=False, highlight=False)


@commands.command()
@expand_options
def show(batch_id: BatchId, *, common: Common) -> None:
    """Show the progress of a batch: how many of its jobs have ended, and in which state."""
    record, pause = with_client(common.settings(), lambda client: _read_one(client.store, batch_id))
    if common.as_json:
        follow_ups = list(map(follow_up_document, record.spec.follow_ups))
        print_json({**_document(record, pause), "follow_ups": follow_ups})
    else:
        print_batch(record, pause)


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
def pause(ids: BatchIds, *, options: PauseOptions, common: Common) -> None:
    """Start no more jobs of these batches, on any worker. Running jobs go on; jobs can still join the batches."""
    results = change(
        common.settings(),
        "batch.pause",
        lambda client: set_batches_paused(client.store, ids, paused=True, request=options.request()),
        reason=options.reason,
    )
    print_results(results, as_json=common.as_json)


@commands.command()
@expand_options
def resume(ids: BatchIds, *, common: Common) -> None:
    """Let jobs of these batches start again, on all workers."""
    results = change(
        common.settings(), "batch.resume", lambda client: set_batches_paused(client.store, ids, paused=False)
    )
    print_results(results, as_json=common.as_json)


@commands.command()
@expand_options
def cancel(batch_id: BatchId, *, common: Common) -> None:
    """Cancel the rest of a batch: no more jobs can be added, queued ones are cancelled, running ones are asked to stop."""

    async def act(client: Client) -> list[ActionResult]:
        return [await cancel_batch(client.store, batch_id)]

    print_results(change(common.settings(), "batch.cancel", act), as_json=common.as_json)


async def _read(store: Store) -> tuple[list[BatchRecord], Pauses]:
    return await newest_batches(store), await read_pauses(store)


async def _read_one(store: Store, batch_id: str) -> tuple[BatchRecord, Pause | None]:
    record = await batch_record(store, batch_id)
    return record, (await read_pauses(store)).batches.get(batch_id) if record.paused else None


def _document(record: BatchRecord, pause: Pause | None) -> Document:
    return {**batch_document(record), "pause": pause_document(pause if record.paused else None)}


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
        batch_state(batch),
        Text(total),
        Text(f"{batch.failed:,}" if batch.failed else "", "red"),
        Text(batch.spec.user or ""),
        Text(relative_time(batch.submitted, now), "dim"),
    ]
