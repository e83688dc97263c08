"""`sidelane jobs`: list, show, watch, cancel and requeue jobs. They need the store alone."""

import asyncio
import time
from dataclasses import replace
from typing import Annotated

import typer

from sidelane.admin.documents import job_document, unknown_words
from sidelane.admin.worker_lookup import find_worker
from sidelane.callbacks.status import callbacks_of
from sidelane.cli.filters import Labelled, Most, OfQueue, OfTask, OfUser, labels_of
from sidelane.cli.groups import DefaultListGroup
from sidelane.cli.opening import open_client, settings_of
from sidelane.cli.options import AsJson, LaneName, StoreUrl
from sidelane.cli.output.console import output, print_json, stderr, write
from sidelane.cli.output.job_detail import print_sheet, sheet_document
from sidelane.cli.output.job_table import jobs_table
from sidelane.cli.output.results import ItemResult, print_results
from sidelane.cli.output.watch import JsonView, TerminalView, watch_job
from sidelane.client.event_stream import partial_text
from sidelane.model.job import JobRecord, Query, Rejection, State, Tombstone
from sidelane.model.settings import Settings
from sidelane.processes.exit_code import Exit
from sidelane.stores.factory import redact_url
from sidelane.tasks.internal_queues import INTERNAL_PREFIX

commands = typer.Typer(cls=DefaultListGroup, help="List, show, watch, cancel and requeue jobs. Alone: list them.")

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.", show_default=False)]
JobIds = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of jobs.", show_default=False)]

Found = JobRecord | Tombstone | None


@commands.command("list")
def list_jobs(  # noqa: PLR0913 - one parameter an option is how typer declares a command
    *,
    state: Annotated[
        list[State] | None,
        typer.Option(
            metavar="STATE",
            help="Only jobs that are queued, running, succeeded, failed or cancelled; may be repeated.",
            show_default=False,
        ),
    ] = None,
    task: OfTask = None,
    queue: OfQueue = None,
    user: OfUser = None,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Only jobs with this key.", show_default=False)] = None,
    parent: Annotated[
        str | None, typer.Option(metavar="ID", help="Only jobs that this job has submitted.", show_default=False)
    ] = None,
    batch: Annotated[
        str | None, typer.Option(metavar="ID", help="Only jobs of this batch.", show_default=False)
    ] = None,
    label: Labelled = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Sidelane's own jobs too: callbacks, hand-overs on their way, files that go.")
    ] = False,
    limit: Most = 50,
    as_json: AsJson = False,
    store: StoreUrl = None,
    lane: LaneName = None,
) -> None:
    """List jobs, the newest first. Sidelane's own are left out but with --all, --parent, or their own --task or --queue."""
    query = Query(
        states=frozenset(state) if state else None, task=task, queue=queue, user=user, key=key, parent=parent, batch=batch,
        labels=labels_of(label), limit=limit,
    )  # fmt: skip
    settings = settings_of(store, lane)
    own = everything or parent is not None or any((name or "").startswith(INTERNAL_PREFIX) for name in (task, queue))
    records = asyncio.run(_find(settings, query, own=own))
    if as_json:
        print_json([job_document(record) for record in records])
        return
    if not records:
        stderr().print(f"No such job in {redact_url(settings.store)}.", style="dim")
        return
    console = output()
    write(console, jobs_table(console, records, time.time()))
    if len(records) == limit:
        stderr().print(f"These are the newest {limit}; there may be more (--limit).", style="dim")


@commands.command()
def show(job_id: JobId, *, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """Show everything about a job: arguments, result, each failure with its traceback, and who runs it."""
    asyncio.run(show_job(settings_of(store, lane), job_id, as_json=as_json))


@commands.command()
def watch(job_id: JobId, *, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """Follow a job live to its end: tokens go to stdout, progress and all else to stderr.

    The exit code is 0 when it succeeded, 1 when it failed and 5 when it was cancelled. With --json: one event a line.
    """
    state = asyncio.run(_watch(settings_of(store, lane), job_id, as_json=as_json))
    exits = {State.FAILED: Exit.FAILED, State.CANCELLED: Exit.CANCELLED}
    raise typer.Exit(exits.get(state, Exit.DONE))


@commands.command()
def cancel(job_ids: JobIds, *, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """Cancel jobs: queued ones at once; running ones are asked to stop."""
    before, after = asyncio.run(_cancel(settings_of(store, lane), job_ids))
    print_results(list(map(_cancelled, job_ids, before, after)), as_json=as_json)


@commands.command()
def requeue(job_ids: JobIds, *, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """Bring finished jobs back to their queues, with fresh budgets."""
    before, after = asyncio.run(_requeue(settings_of(store, lane), job_ids))
    print_results(list(map(_requeued, job_ids, before, after)), as_json=as_json)


async def _find(settings: Settings, query: Query, *, own: bool) -> list[JobRecord]:
    """Find jobs; with `own`, Sidelane's own among them."""
    async with open_client(settings) as client:
        records, before = list[JobRecord](), query.before
        while len(records) < query.limit:
            found = await client.find(replace(query, before=before))
            records += [record for record in found if own or not record.spec.queue.startswith(INTERNAL_PREFIX)]
            if len(found) < query.limit:
                break
            before = found[-1].sequence
        return records[: query.limit]


async def show_job(settings: Settings, job_id: str, *, as_json: bool) -> JobRecord:
    """Print everything about a job, and give its record. Raises `UnknownJob` or `JobGone`."""
    async with open_client(settings) as client:
        record = await client.record(job_id)
        served = await find_worker(record, client.store)
        place = await client.store.queue_position(job_id) if record.state is State.QUEUED else None
        partial = await partial_text(client.store, record.id) if record.result is None else ""
        callbacks = await callbacks_of(client, job_id)
    if as_json:
        print_json(sheet_document(record, served, place, partial, callbacks))
    else:
        print_sheet(record, served, place, partial, callbacks)
    return record


async def _watch(settings: Settings, job_id: str, *, as_json: bool) -> State:
    async with open_client(settings) as client:
        return await watch_job(client, job_id, JsonView() if as_json else TerminalView())


async def _cancel(settings: Settings, ids: list[str]) -> tuple[list[Found], list[JobRecord | None]]:
    async with open_client(settings) as client:
        return await client.store.get(ids), await client.store.cancel(ids)


async def _requeue(settings: Settings, ids: list[str]) -> tuple[list[Found], list[JobRecord | Rejection | None]]:
    async with open_client(settings) as client:
        return await client.store.get(ids), await client.store.requeue(ids)


def _cancelled(job_id: str, before: Found, after: JobRecord | None) -> ItemResult:
    if after is None or not isinstance(before, JobRecord):
        return _unknown(job_id, before)
    if before.state.finished:
        return _done(after, f"had ended already ({before.state})")
    return _done(after, "cancelled" if after.state is State.CANCELLED else "was asked to stop")


def _requeued(job_id: str, before: Found, after: JobRecord | Rejection | None) -> ItemResult:
    if isinstance(after, Rejection):
        words = f"not requeued: {after.problem.detail or after.problem.title}"
        return ItemResult(job_id, Exit.FAILED, words, {"job": None})
    if after is None or not isinstance(before, JobRecord):
        return _unknown(job_id, before)
    return _done(after, "requeued" if before.state.finished else f"left as it is: it has not ended ({before.state})")


def _done(record: JobRecord, words: str) -> ItemResult:
    return ItemResult(record.id, Exit.DONE, words, {"job": job_document(record)})


def _unknown(job_id: str, before: Found) -> ItemResult:
    found = before if isinstance(before, Tombstone) else None
    return ItemResult(job_id, Exit.UNKNOWN, unknown_words(found), {"job": None})
