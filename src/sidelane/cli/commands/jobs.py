"""`sidelane jobs`: list, show, explain, watch, submit, cancel and requeue jobs, and show what they logged and where they are."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Annotated

import typer
from rich.text import Text

from sidelane.admin.actions import ActionResult, Status, cancel_jobs, duplicate_job, requeue_jobs, submit_job
from sidelane.admin.arguments import check_arguments, users_tasks
from sidelane.admin.bulk import chosen_jobs, filtered_jobs
from sidelane.admin.documents import Document, job_document
from sidelane.admin.job_logs import job_logs
from sidelane.admin.jobs import job_detail, list_jobs, situation_of
from sidelane.admin.stack import DEFAULT_TIMEOUT, MAX_TIMEOUT, job_stack
from sidelane.admin.why import explain, explanation_document
from sidelane.cli.changes import Reason, bulk_action, change_jobs, keep_line
from sidelane.cli.locate import load_lane, with_client, with_jobs
from sidelane.cli.options import (
    INPUT,
    Common,
    DefaultListGroup,
    JobFilterOptions,
    MaxItems,
    Replacement,
    Yes,
    expand_options,
    input_of,
)
from sidelane.cli.output.console import output, print_json, print_json_line, stderr, write
from sidelane.cli.output.job_detail import print_explanation, print_job, print_stack
from sidelane.cli.output.job_logs import JobLogPrinter
from sidelane.cli.output.job_table import jobs_table
from sidelane.cli.output.results import CHECK, print_results
from sidelane.cli.output.watch import JsonView, TerminalView, watch_job
from sidelane.client.bulk_actions import BulkKind
from sidelane.client.client import Client
from sidelane.model.job import JobRecord, State
from sidelane.model.options import OptionFields
from sidelane.processes.exit_code import Exit
from sidelane.stores.contract import Store
from sidelane.stores.factory import redact_url

commands = typer.Typer(
    cls=DefaultListGroup,
    help="List, show, explain, watch, submit, cancel and requeue jobs, or show what one does now or has logged. Without a command: "
    "list them.",
)

JobId = Annotated[str, typer.Argument(metavar="ID", help="Id of a job, or its first characters.", show_default=False)]
JobIds = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID...", help="Ids of jobs, or their first characters; or --all.", show_default=False),
]


@commands.command("list")
@expand_options
def list_(
    *,
    filters: JobFilterOptions,
    internal: Annotated[
        bool, typer.Option("--all", help="Include internal jobs (callbacks, dispatches, file cleanup).")
    ] = False,
    limit: MaxItems = 50,
    common: Common,
) -> None:
    """List jobs, newest first. Internal jobs are listed only with --all, --parent, or their own --task or --queue."""
    selected, settings = filters.selected(internal=internal), common.settings()
    records = with_client(settings, lambda client: list_jobs(client.store, selected, limit))
    if common.as_json:
        print_json([job_document(record) for record in records])
        return
    if not records:
        stderr().print(f"No matching job in {redact_url(settings.store)}.", style="dim")
        return
    console = output()
    write(console, jobs_table(console, records, time.time()))
    if len(records) == limit:
        stderr().print(f"These are the newest {limit}; there may be more (--limit).", style="dim")


@commands.command()
@expand_options
def show(job_id: JobId, *, common: Common) -> None:
    """Show everything about a job: arguments, result, each failure with its traceback, and its worker."""
    show_job(common, job_id)


@commands.command()
@expand_options
def why(job_id: JobId, *, common: Common) -> None:
    """Explain in a sentence why a job has not started, runs long, failed or was cancelled, started late, or ran again."""
    situation = with_jobs(common.settings(), [job_id], lambda client, ids: situation_of(client, ids[0]))
    explanation = explain(situation, time.time())
    if common.as_json:
        print_json({"id": situation.record.id, **explanation_document(explanation)})
    else:
        print_explanation(output(), explanation, warn=situation.lookup.notice is not None)


@commands.command()
@expand_options
def stack(
    job_id: JobId,
    *,
    timeout: Annotated[
        float,
        typer.Option(min=0.0, max=MAX_TIMEOUT, metavar="SECONDS", help="Seconds to wait for the worker's answer."),
    ] = DEFAULT_TIMEOUT,
    common: Common,
) -> None:
    """Show what a running job does now: the stack of its coroutine, thread or child process, which its worker sends.

    The exit code is 1 if there is no stack, with the reason: the job does not run, runs elsewhere, or its worker does not answer.
    """
    found = with_jobs(common.settings(), [job_id], lambda client, ids: job_stack(client, ids[0], timeout=timeout))
    if common.as_json:
        print_json(found.document())
    else:
        print_stack(found)
    raise typer.Exit(Exit.DONE if found.stack else Exit.FAILED)


@commands.command()
@expand_options
def watch(job_id: JobId, *, common: Common) -> None:
    """Follow a job live until it ends: tokens go to stdout, progress and messages to stderr.

    The exit code is 0 if it succeeded, 1 if it failed and 5 if it was cancelled. With --json: one event per line.
    """
    view = JsonView() if common.as_json else TerminalView()
    state = with_jobs(common.settings(), [job_id], lambda client, ids: watch_job(client, ids[0], view))
    exits = {State.FAILED: Exit.FAILED, State.CANCELLED: Exit.CANCELLED}
    raise typer.Exit(exits.get(state, Exit.DONE))


@commands.command()
@expand_options
def logs(
    job_id: JobId,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new records, until the job ends.", show_default=False)
    ] = False,
    attempt: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only records of this attempt.", show_default=False)
    ] = None,
    common: Common,
) -> None:
    """Show what a job has logged, if its task is declared with `keep_logs=True`. With --json: one record per line."""
    show: Callable[[Document], None] = print_json_line if common.as_json else JobLogPrinter()

    async def show_all(client: Client, ids: list[str]) -> tuple[str, int]:
        count = 0
        async with aclosing(job_logs(client, ids[0], attempt=attempt, follow=follow)) as records:
            async for record in records:
                show(record)
                count += 1
        return ids[0], count

    found, count = with_jobs(common.settings(), [job_id], show_all)
    if not count:
        which = "" if attempt is None else f" of attempt {attempt}"
        stderr().print(
            f"Job {found} has no log records{which}.\nA task declared with @lane.task(keep_logs=True) keeps them."
        )


@commands.command()
@expand_options
def cancel(
    job_ids: JobIds = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="All unfinished jobs that match the filters.", show_default=False)
    ] = False,
    filters: JobFilterOptions,
    reason: Reason = "",
    yes: Yes = False,
    common: Common,
) -> None:
    """Cancel jobs: queued ones at once; running ones are asked to stop. With --all: those that match now, after a confirmation."""
    selected, settings = filters.selected().unfinished(), common.settings()
    _require_ids_or_all(job_ids, filters, everything=everything)
    if job_ids:
        results = change_jobs(settings, job_ids, "job.cancel", lambda client, ids: cancel_jobs(client.store, ids))
        print_results(results, as_json=common.as_json)
        return
    bulk_action(
        settings, BulkKind.CANCEL, lambda store: filtered_jobs(store, selected), noun="job", chosen=filters.chosen(),
        reason=reason, yes=yes, as_json=common.as_json,
    )  # fmt: skip


@commands.command()
@expand_options
def requeue(
    job_ids: JobIds = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="All finished jobs that match the filters.", show_default=False)
    ] = False,
    filters: JobFilterOptions,
    replacement: Replacement = None,
    reason: Reason = "",
    yes: Yes = False,
    common: Common,
) -> None:
    """Return finished jobs to their queues, with fresh retry budgets; with --input, a single one with new arguments."""
    _require_ids_or_all(job_ids, filters, everything=everything)
    if replacement is not None and len(job_ids or ()) != 1:
        raise typer.BadParameter("new arguments are for exactly one job: give its ID.", param_hint=INPUT)
    arguments = None if replacement is None else input_of(replacement)
    settings, selected = common.settings(), filters.selected()

    async def action(client: Client, ids: list[str]) -> list[ActionResult]:
        await _check(client, ids[0], arguments, common)
        return await requeue_jobs(client.store, ids, arguments=arguments)

    if job_ids:
        print_results(change_jobs(settings, job_ids, "job.requeue", action), as_json=common.as_json)
        return
    bulk_action(
        settings, BulkKind.REQUEUE, lambda store: filtered_jobs(store, selected), noun="job", chosen=filters.chosen(),
        reason=reason, yes=yes, as_json=common.as_json,
    )  # fmt: skip


@commands.command()
@expand_options
def purge(
    job_ids: JobIds = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="All finished jobs that match the filters.", show_default=False)
    ] = False,
    filters: JobFilterOptions,
    reason: Reason = "",
    yes: Yes = False,
    common: Common,
) -> None:
    """Delete finished jobs with their logs now, before their retention expires. This cannot be undone."""
    _require_ids_or_all(job_ids, filters, everything=everything)
    settings, selected = common.settings(), filters.selected()
    ids = with_jobs(settings, job_ids, _ids) if job_ids else []

    def pages(store: Store) -> AsyncIterator[Sequence[JobRecord]]:
        return chosen_jobs(store, ids) if ids else filtered_jobs(store, selected)

    bulk_action(
        settings, BulkKind.PURGE, pages, noun="job", chosen=", ".join(ids) or filters.chosen(), reason=reason, yes=yes,
        as_json=common.as_json,
    )  # fmt: skip


@commands.command()
@expand_options
def duplicate(job_id: JobId, *, replacement: Replacement = None, common: Common) -> None:
    """Submit a new job like another one, with the same callbacks and what follows it; with --input, with new arguments."""
    arguments = None if replacement is None else input_of(replacement)

    async def action(client: Client, ids: list[str]) -> JobRecord:
        await _check(client, ids[0], arguments, common)
        copy = await duplicate_job(client, ids[0], arguments)
        await keep_line(client.store, "job.duplicate", [ActionResult(ids[0], Status.DONE, f"{copy.id} submitted")])
        return copy

    _print_submitted(with_jobs(common.settings(), [job_id], action), common)


@commands.command()
@expand_options
def submit(
    task: Annotated[str, typer.Argument(metavar="TASK", help="Name of a task of the lane.", show_default=False)],
    *,
    arguments: Annotated[
        str, typer.Option(INPUT, metavar="JSON|@FILE", help="The arguments: a JSON object by parameter name.")
    ] = "{}",
    user: Annotated[str | None, typer.Option(metavar="NAME", help="The user of the job.", show_default=False)] = None,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="What the job is for.", show_default=False)] = None,
    common: Common,
) -> None:
    """Submit a job of a task. The lane is that of --lane, or of SIDELANE_LANE."""
    lane, text = load_lane(common.lane), input_of(arguments)
    found = users_tasks(lane.registry).get(task)
    if found is None:
        known = ", ".join(users_tasks(lane.registry))
        raise typer.BadParameter(f"the lane has no task {task!r}. It has {known}.", param_hint="TASK")
    options = OptionFields()
    if user is not None:
        options["user"] = user
    if key is not None:
        options["key"] = key

    async def action(client: Client) -> JobRecord:
        record = await submit_job(client, found, text, **options)
        await keep_line(client.store, "job.submit", [ActionResult(task, Status.DONE, f"{record.id} submitted")])
        return record

    _print_submitted(with_client(common.settings(), action), common)


def _require_ids_or_all(ids: list[str] | None, filters: JobFilterOptions, *, everything: bool) -> None:
    """Raise `typer.BadParameter` unless either ids or --all are given."""
    if bool(ids) == everything or (ids and filters != JobFilterOptions()):
        raise typer.BadParameter("give ids, or --all (the filters apply to it).", param_hint="ID...")


async def _ids(client: Client, ids: list[str]) -> list[str]:
    return ids


async def _check(client: Client, job_id: str, arguments: str | None, common: Common) -> None:
    """Check new arguments of a job by its task, if the lane is named."""
    if arguments is not None:
        registry = None if common.lane is None else load_lane(common.lane).registry
        check_arguments(arguments, (await client.record(job_id)).spec, client.settings, registry)


def _print_submitted(record: JobRecord, common: Common) -> None:
    if common.as_json:
        print_json(job_document(record))
    else:
        output().print(Text.assemble(CHECK, f"{record.id}  submitted to queue {record.spec.queue}"))


def show_job(common: Common, job_id: str) -> JobRecord:
    """Print everything about a job, and return its record. Raises `UnknownJob`, `JobRemoved` or `ArgumentsError`."""
    detail = with_jobs(common.settings(), [job_id], lambda client, ids: job_detail(client, ids[0]))
    if common.as_json:
        print_json(detail.document())
    else:
        print_job(detail)
    return detail.record
