"""`sidelane dead`: list, show, requeue and purge dead letters, the jobs that failed for good."""

import time
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.text import Text

from sidelane.admin.arguments import check_arguments
from sidelane.admin.dead_letters import (
    MAX_GROUPED,
    Check,
    DeadLetterAction,
    DeadLetterFilter,
    Purge,
    Requeue,
    apply_to_each,
    dead_letter_causes,
    dead_letters,
    newest_dead_letters,
    not_dead_text,
)
from sidelane.admin.documents import error_text, failure_document, job_document
from sidelane.admin.failure_causes import FailureCause, cause_document
from sidelane.cli.changes import Reason, bulk_action, change_jobs
from sidelane.cli.commands.jobs import JobId, show_job
from sidelane.cli.locate import load_lane, with_client
from sidelane.cli.options import (
    INPUT,
    Common,
    DeadLetterOptions,
    DefaultListGroup,
    MaxItems,
    Replacement,
    Yes,
    expand_options,
    input_of,
)
from sidelane.cli.output.console import output, print_json, stderr, warning, write
from sidelane.cli.output.results import confirm, print_results
from sidelane.cli.output.states import attempts, one_line
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import relative_time
from sidelane.client.bulk_actions import BulkKind
from sidelane.model.job import JobRecord, State
from sidelane.model.settings import Settings
from sidelane.stores.factory import redact_url

COLUMNS = Columns(
    headers=("ID", "TASK", "QUEUE", "USER", "FAILED", "ATTEMPT", "ERROR"),
    droppable=("USER", "QUEUE", "ATTEMPT"),
    shrinkable=("TASK", "ERROR"),
)

CAUSES = Columns(
    headers=("KEY", "JOBS", "TASK", "RELEASE", "FIRST", "LAST", "ERROR"),
    droppable=("FIRST", "RELEASE"),
    shrinkable=("TASK", "RELEASE", "ERROR"),
    numbers=("JOBS",),
)

MAX_ERROR = 200
"""Maximum number of characters of an error in the list."""

commands = typer.Typer(
    cls=DefaultListGroup,
    help="List, show, requeue and purge dead letters, the jobs that failed for good. Without a command: list them.",
)

Ids = Annotated[
    list[str] | None, typer.Argument(metavar="ID...", help="Ids of dead letters, or --all.", show_default=False)
]
All = Annotated[bool, typer.Option("--all", help="All dead letters that match the filters.", show_default=False)]


@commands.command("list")
@expand_options
def list_(
    *,
    filters: DeadLetterOptions,
    group: Annotated[
        bool, typer.Option("--group", help="List causes instead, by release, most jobs first.", show_default=False)
    ] = False,
    cause: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Only of this cause, as --group names it.", show_default=False),
    ] = None,
    limit: MaxItems = 50,
    common: Common,
) -> None:
    """List dead letters, newest first, with their error. --group and --cause look at the newest 300 that match."""
    selected, settings = filters.selected(), common.settings()
    read = MAX_GROUPED if group or cause else limit
    records = with_client(settings, lambda client: newest_dead_letters(client.store, selected, read))
    if group:
        _print_causes(dead_letter_causes(records), settings, as_json=common.as_json)
        return
    if cause is not None:
        found = dead_letter_causes(records).get(cause)
        records = [] if found is None else sorted(found.records, key=lambda record: -(record.ended or 0.0))[:limit]
    if common.as_json:
        print_json(
            [{**job_document(record), "history": list(map(failure_document, record.history))} for record in records]
        )
        return
    if not records:
        _print_none(settings)
        return
    console, now = output(), time.time()
    write(console, fit_table(console, COLUMNS, [_row(record, now) for record in records]))
    if len(records) == limit:
        stderr().print(f"These are the newest {limit}; there may be more (--limit).", style="dim")


@commands.command()
@expand_options
def show(job_id: JobId, *, common: Common) -> None:
    """Show everything about a dead letter: its arguments, and each failure with attempt, time, error and traceback."""
    record = show_job(common, job_id)
    if record.state is not State.FAILED:
        stderr().print(warning(not_dead_text(record)))


@commands.command()
@expand_options
def requeue(
    ids: Ids = None,
    *,
    everything: All = False,
    filters: DeadLetterOptions,
    replacement: Replacement = None,
    reason: Reason = "",
    yes: Yes = False,
    common: Common,
) -> None:
    """Return dead letters to their queues, with fresh retry budgets; with --input, a single one with new arguments."""
    selected = filters.selected()
    _require_ids_or_all(ids, selected, everything=everything)
    if replacement is not None and len(ids or ()) != 1:
        raise typer.BadParameter("new arguments are for exactly one job: give its ID.", param_hint=INPUT)
    arguments = None if replacement is None else input_of(replacement)
    settings, action = common.settings(), Requeue(arguments)
    if ids:
        check = None if arguments is None else _check(arguments, settings, common.lane)
        _apply_to_each(settings, ids, action, check, as_json=common.as_json)
    else:
        _bulk(common, BulkKind.REQUEUE, filters, selected, reason=reason, yes=yes)


@commands.command()
@expand_options
def purge(
    ids: Ids = None,
    *,
    everything: All = False,
    filters: DeadLetterOptions,
    reason: Reason = "",
    yes: Yes = False,
    common: Common,
) -> None:
    """Delete dead letters with their logs now, before their retention expires. This cannot be undone."""
    selected = filters.selected()
    _require_ids_or_all(ids, selected, everything=everything)
    settings, action = common.settings(), Purge()
    if ids:
        items = "1 dead letter" if len(ids) == 1 else f"{len(ids):,} dead letters"
        confirm(f"Permanently delete {items}?", yes=yes)
        _apply_to_each(settings, ids, action, None, as_json=common.as_json)
    else:
        _bulk(common, BulkKind.PURGE, filters, selected, reason=reason, yes=yes)


def _require_ids_or_all(ids: list[str] | None, selected: DeadLetterFilter, *, everything: bool) -> None:
    """Raise `typer.BadParameter` unless either ids or --all are given."""
    if ids and (everything or selected != DeadLetterFilter()):
        raise typer.BadParameter("give ids, or --all with filters, not both.", param_hint="ID...")
    if not ids and not everything:
        raise typer.BadParameter("give ids, or --all (the filters apply to it).", param_hint="ID...")


def _check(arguments: str, settings: Settings, lane: str | None) -> Check:
    registry = None if lane is None else load_lane(lane).registry
    return lambda record: check_arguments(arguments, record.spec, settings, registry)


def _apply_to_each(
    settings: Settings, ids: list[str], action: DeadLetterAction, check: Check | None, *, as_json: bool
) -> None:
    name = "job.purge" if isinstance(action, Purge) else "job.requeue"
    results = change_jobs(settings, ids, name, lambda client, full: apply_to_each(client.store, full, action, check))
    print_results(results, as_json=as_json)


def _bulk(
    common: Common, kind: BulkKind, filters: DeadLetterOptions, selected: DeadLetterFilter, *, reason: str, yes: bool
) -> None:
    bulk_action(
        common.settings(), kind, lambda store: dead_letters(store, selected), noun="dead letter", chosen=filters.chosen(),
        reason=reason, yes=yes, as_json=common.as_json,
    )  # fmt: skip


def _print_causes(causes: Mapping[str, FailureCause], settings: Settings, *, as_json: bool) -> None:
    if as_json:
        print_json([{"key": key, **cause_document(cause)} for key, cause in causes.items()])
    elif causes:
        console, now = output(), time.time()
        write(console, fit_table(console, CAUSES, [_cause_row(key, each, now) for key, each in causes.items()]))
    else:
        _print_none(settings)


def _cause_row(key: str, cause: FailureCause, now: float) -> list[Text]:
    newest = cause.newest
    return [
        Text(key),
        Text(f"{len(cause.records):,}", "bold"),
        Text(newest.spec.task, "bold"),
        Text(cause.release),
        Text(relative_time(cause.first, now), "dim"),
        Text(relative_time(newest.ended or 0.0, now), "dim"),
        Text(one_line(cause.error, MAX_ERROR), "red"),
    ]


def _print_none(settings: Settings) -> None:
    stderr().print(f"No matching dead letter in {redact_url(settings.store)}.", style="dim")


def _row(record: JobRecord, now: float) -> list[Text]:
    return [
        Text(record.id),
        Text(record.spec.task, "bold"),
        Text(record.spec.queue),
        Text(record.spec.user or ""),
        Text("" if record.ended is None else relative_time(record.ended, now), "dim"),
        attempts(record),
        Text(one_line(error_text(record), MAX_ERROR), "red"),
    ]
