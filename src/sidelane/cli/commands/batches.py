"""`sidelane batches`: show, watch and cancel jobs that were submitted together."""

import asyncio
from contextlib import aclosing
from typing import Annotated

import typer

from sidelane.admin.documents import batch_document, follow_up_document
from sidelane.cli.opening import open_client, settings_of
from sidelane.cli.options import AsJson, LaneName, StoreUrl
from sidelane.cli.output.batch_detail import BatchLines, BatchProgress, BatchView, print_batch
from sidelane.cli.output.console import interactive, print_json, stderr
from sidelane.cli.output.results import ItemResult, print_results
from sidelane.client.batch import Batch
from sidelane.client.event_stream import batch_record, stream_batch
from sidelane.model.batch import BatchRecord
from sidelane.model.job import State
from sidelane.model.settings import Settings
from sidelane.processes.exit_code import Exit

commands = typer.Typer(no_args_is_help=True, help="Show, watch and cancel jobs that were submitted together.")

BatchId = Annotated[str, typer.Argument(metavar="ID", help="The batch's id.", show_default=False)]


@commands.command()
def show(batch_id: BatchId, *, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """Show how far a batch has come: how many of its jobs have ended, and how."""
    record = asyncio.run(_look(settings_of(store, lane), batch_id))
    if as_json:
        follow_ups = list(map(follow_up_document, record.spec.follow_ups))
        print_json({**batch_document(record), "follow_ups": follow_ups})
    else:
        print_batch(record)


@commands.command()
def watch(batch_id: BatchId, *, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """Follow a batch to its end: a bar on a terminal, elsewhere (and with --json) one document a line.

    The exit code is 0 when all its jobs succeeded, else 1.
    """
    view: BatchView = BatchProgress() if interactive(stderr()) and not as_json else BatchLines()
    record = asyncio.run(_watch(settings_of(store, lane), batch_id, view))
    raise typer.Exit(Exit.DONE if record.state is State.SUCCEEDED else Exit.FAILED)


@commands.command()
def cancel(batch_id: BatchId, *, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """Cancel what is left of a batch: no more jobs join, queued ones are cancelled at once, running ones are asked to stop."""
    before, after = asyncio.run(_cancel(settings_of(store, lane), batch_id))
    print_results([_cancelled(before, after)], as_json=as_json)


async def _look(settings: Settings, batch_id: str) -> BatchRecord:
    async with open_client(settings) as client:
        return await batch_record(client.store, batch_id)


async def _watch(settings: Settings, batch_id: str, view: BatchView) -> BatchRecord:
    async with open_client(settings) as client:
        record = await batch_record(client.store, batch_id)
        with view:
            async with aclosing(stream_batch(client.store, batch_id)) as records:
                async for record in records:
                    view.show(record)
        return record


async def _cancel(settings: Settings, batch_id: str) -> tuple[BatchRecord, BatchRecord]:
    async with open_client(settings) as client:
        before = await batch_record(client.store, batch_id)
        batch: Batch[object] = Batch(batch_id, client.store)
        return before, await batch.cancel()


def _cancelled(before: BatchRecord, after: BatchRecord) -> ItemResult:
    document = {"batch": batch_document(after)}
    if before.ended is not None:
        return ItemResult(after.id, Exit.DONE, f"had ended already ({before.state})", document)
    words = f"{after.cancelled - before.cancelled:,} cancelled"
    if after.unfinished:
        words += f", {after.unfinished:,} running asked to stop"
    return ItemResult(after.id, Exit.DONE, words, document)
