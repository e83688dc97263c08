"""`sidelane jobs`: list, show, watch, cancel and requeue jobs. They need the store alone."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.text import Text

from sidelane.cli.console import notes, output, print_json, put
from sidelane.cli.documents import Document, job_document
from sidelane.cli.exits import Exit
from sidelane.cli.joblist import jobs_table
from sidelane.cli.jobsheet import print_sheet, sheet_document
from sidelane.cli.opening import opened, settings_of
from sidelane.cli.options import AsJson, LaneName, StoreUrl
from sidelane.cli.serving import serving
from sidelane.cli.watching import JsonView, TerminalView, watch_job
from sidelane.engine.partial import partial_text
from sidelane.model.job import Gone, JobRecord, Query, Refusal, State
from sidelane.model.settings import Settings
from sidelane.stores.opening import without_password

commands = typer.Typer(no_args_is_help=True, help="List, show, watch, cancel and requeue jobs.")

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.", show_default=False)]
JobIds = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of jobs.", show_default=False)]

Found = JobRecord | Gone | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command did about one job: `record` is how it stands now."""

    exit: Exit
    words: str
    record: JobRecord | None = None


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
    task: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only jobs of this task.", show_default=False)
    ] = None,
    queue: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only jobs of this queue.", show_default=False)
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only jobs of this user.", show_default=False)
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Only jobs with this key.", show_default=False)] = None,
    parent: Annotated[
        str | None, typer.Option(metavar="ID", help="Only jobs that this job has submitted.", show_default=False)
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Only jobs with this label; may be repeated.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many, at most.")] = 50,
    as_json: AsJson = False,
    store: StoreUrl = None,
    lane: LaneName = None,
) -> None:
    """List jobs, the newest first."""
    query = Query(
        states=frozenset(state) if state else None, task=task, queue=queue, user=user, key=key, parent=parent,
        labels=dict(map(_label, label or ())), limit=limit,
    )  # fmt: skip
    settings = settings_of(store, lane)
    records = asyncio.run(_find(settings, query))
    if as_json:
        print_json([job_document(record) for record in records])
        return
    if not records:
        notes().print(f"No such job in {without_password(settings.store)}.", style="dim")
        return
    console = output()
    put(console, jobs_table(console, records, time.time()))
    if len(records) == limit:
        notes().print(f"These are the newest {limit}; there may be more (--limit).", style="dim")


@commands.command()
def show(job_id: JobId, *, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """Show everything about a job: arguments, result, each failure with its traceback, and who runs it."""
    asyncio.run(_show(settings_of(store, lane), job_id, as_json=as_json))


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
    _tell(job_ids, [_cancelled(*pair) for pair in zip(before, after, strict=True)], as_json=as_json)


@commands.command()
def requeue(job_ids: JobIds, *, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """Bring finished jobs back to their queues, with fresh budgets."""
    before, after = asyncio.run(_requeue(settings_of(store, lane), job_ids))
    _tell(job_ids, [_requeued(*pair) for pair in zip(before, after, strict=True)], as_json=as_json)


async def _find(settings: Settings, query: Query) -> list[JobRecord]:
    async with opened(settings) as client:
        return await client.find(query)


async def _show(settings: Settings, job_id: str, *, as_json: bool) -> None:
    async with opened(settings) as client:
        record = await client.record(job_id)
        served = serving(record, await client.store.workers())
        place = await client.store.position(job_id) if record.state is State.QUEUED else None
        position = None if place is None else place.before
        partial = await partial_text(client.store, record.id) if record.result is None else ""
    if as_json:
        print_json(sheet_document(record, served, position, partial))
    else:
        print_sheet(record, served, position, partial)


async def _watch(settings: Settings, job_id: str, *, as_json: bool) -> State:
    async with opened(settings) as client:
        return await watch_job(client, job_id, JsonView() if as_json else TerminalView())


async def _cancel(settings: Settings, ids: list[str]) -> tuple[list[Found], list[JobRecord | None]]:
    async with opened(settings) as client:
        return await client.store.get(ids), await client.store.cancel(ids)


async def _requeue(settings: Settings, ids: list[str]) -> tuple[list[Found], list[JobRecord | Refusal | None]]:
    async with opened(settings) as client:
        return await client.store.get(ids), await client.store.requeue(ids)


def _cancelled(before: Found, after: JobRecord | None) -> Answer:
    if after is None or not isinstance(before, JobRecord):
        return _unknown(before)
    if before.state.finished:
        return Answer(Exit.DONE, f"had ended already ({before.state})", after)
    return Answer(Exit.DONE, "cancelled" if after.state is State.CANCELLED else "was asked to stop", after)


def _requeued(before: Found, after: JobRecord | Refusal | None) -> Answer:
    if isinstance(after, Refusal):
        return Answer(Exit.FAILED, f"not requeued: {after.problem.detail or after.problem.title}")
    if after is None or not isinstance(before, JobRecord):
        return _unknown(before)
    words = "requeued" if before.state.finished else f"left as it is: it has not ended ({before.state})"
    return Answer(Exit.DONE, words, after)


def _unknown(before: Found) -> Answer:
    words = "has ended, and the time it is kept for has passed" if isinstance(before, Gone) else "there is no such job"
    return Answer(Exit.UNKNOWN_JOB, words)


def _tell(ids: Iterable[str], answers: Sequence[Answer], *, as_json: bool) -> None:
    """Print what became of each job, and end with the worst of the exit codes."""
    if as_json:
        print_json([_document(job_id, answer) for job_id, answer in zip(ids, answers, strict=True)])
    else:
        for job_id, answer in zip(ids, answers, strict=True):
            good = answer.exit == Exit.DONE
            mark = ("✓ ", "green") if good else ("✗ ", "bold red")
            (output() if good else notes()).print(Text.assemble(mark, job_id, "  ", answer.words))
    raise typer.Exit(max(answer.exit for answer in answers))


def _document(job_id: str, answer: Answer) -> Document:
    job = job_document(answer.record) if answer.record else None
    return {"id": job_id, "done": answer.exit == Exit.DONE, "answer": answer.words, "job": job}


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"{text!r}: write NAME=VALUE.", param_hint="--label")
    return name, value
