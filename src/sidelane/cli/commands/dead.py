"""`sidelane dead`: look at the jobs that failed for good, give them another chance, or forget them."""

import asyncio
import time
from typing import Annotated

import typer
from rich.text import Text

from sidelane.admin.bulk_actions import BulkAction, Check, Purge, Requeue, Status, act_on_all, act_on_each, stands
from sidelane.admin.dead_letters import DeadLetterFilter, count_of, error_words, newest_of
from sidelane.admin.documents import failure_document, job_document
from sidelane.cli.commands.jobs import JobId, show_job
from sidelane.cli.filters import Failing, Labelled, Most, OfQueue, OfTask, OfUser, Since, Until, labels_of
from sidelane.cli.groups import DefaultListGroup
from sidelane.cli.inputs import check_input, input_of
from sidelane.cli.locate import load_lane
from sidelane.cli.opening import open_client, settings_of
from sidelane.cli.options import AsJson, LaneName, StoreUrl
from sidelane.cli.output.bulk_progress import BulkProgress
from sidelane.cli.output.confirm import Yes, confirm
from sidelane.cli.output.console import output, print_json, stderr, warning, write
from sidelane.cli.output.results import ItemResult, print_results
from sidelane.cli.output.states import attempts, short
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import relative_time
from sidelane.model.job import JobRecord, State
from sidelane.model.settings import Settings
from sidelane.processes.exit_code import Exit
from sidelane.stores.factory import redact_url

COLUMNS = Columns(
    headers=("ID", "TASK", "QUEUE", "USER", "FAILED", "ATTEMPT", "ERROR"),
    expendable=("USER", "QUEUE", "ATTEMPT"),
    elastic=("TASK", "ERROR"),
)

EXITS = {Status.DONE: Exit.DONE, Status.FAILED: Exit.FAILED, Status.UNKNOWN: Exit.UNKNOWN}

LONGEST_ERROR = 200

commands = typer.Typer(
    cls=DefaultListGroup,
    help="The dead letters, jobs that failed for good: list, show, requeue or purge them. Alone: list them.",
)

Ids = Annotated[
    list[str] | None, typer.Argument(metavar="ID...", help="Ids of dead letters. Or --all.", show_default=False)
]
All = Annotated[
    bool, typer.Option("--all", help="All dead letters, or those that the filters leave.", show_default=False)
]
Input = Annotated[
    str | None,
    typer.Option(
        "--input",
        metavar="JSON|@FILE",
        help="Other arguments for this one job: a JSON object by parameter name. With --lane they are checked.",
        show_default=False,
    ),
]


@commands.command("list")
def list_dead(  # noqa: PLR0913 - one parameter an option is how typer declares a command
    *,
    task: OfTask = None,
    queue: OfQueue = None,
    user: OfUser = None,
    label: Labelled = None,
    since: Since = None,
    until: Until = None,
    error: Failing = None,
    limit: Most = 50,
    as_json: AsJson = False,
    store: StoreUrl = None,
    lane: LaneName = None,
) -> None:
    """List dead letters, the newest job first, with what each failed of."""
    wanted = DeadLetterFilter(
        task=task, queue=queue, user=user, labels=labels_of(label), since=since, until=until, error=error
    )  # fmt: skip
    settings = settings_of(store, lane)
    records = asyncio.run(_newest(settings, wanted, limit))
    if as_json:
        print_json(
            [{**job_document(record), "history": list(map(failure_document, record.history))} for record in records]
        )
        return
    if not records:
        _say_none(settings)
        return
    console, now = output(), time.time()
    write(console, fit_table(console, COLUMNS, [_row(record, now) for record in records]))
    if len(records) == limit:
        stderr().print(f"These are the newest {limit}; there may be more (--limit).", style="dim")


@commands.command()
def show(job_id: JobId, *, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """Show everything about a dead letter: its arguments, and each failure with attempt, time, error and traceback."""
    record = asyncio.run(show_job(settings_of(store, lane), job_id, as_json=as_json))
    if record.state is not State.FAILED:
        stderr().print(warning(stands(record)))


@commands.command()
def requeue(  # noqa: PLR0913 - one parameter an option is how typer declares a command
    ids: Ids = None,
    *,
    everything: All = False,
    task: OfTask = None,
    queue: OfQueue = None,
    user: OfUser = None,
    label: Labelled = None,
    since: Since = None,
    until: Until = None,
    error: Failing = None,
    replacement: Input = None,
    yes: Yes = False,
    as_json: AsJson = False,
    store: StoreUrl = None,
    lane: LaneName = None,
) -> None:
    """Bring dead letters back to their queues, with fresh budgets; with --input, one of them with other arguments."""
    wanted = DeadLetterFilter(
        task=task, queue=queue, user=user, labels=labels_of(label), since=since, until=until, error=error
    )  # fmt: skip
    _one_or_the_other(ids, wanted, everything=everything)
    if replacement is not None and len(ids or ()) != 1:
        raise typer.BadParameter("other arguments are for exactly one job: name its ID.", param_hint="--input")
    arguments = None if replacement is None else input_of(replacement)
    settings, act = settings_of(store, lane), Requeue(arguments)
    if ids:
        check = None if arguments is None else _check(arguments, settings, lane)
        print_results(asyncio.run(_each(settings, ids, act, check)), as_json=as_json)
    else:
        _all(settings, wanted, act, yes=yes, as_json=as_json)


@commands.command()
def purge(  # noqa: PLR0913 - one parameter an option is how typer declares a command
    ids: Ids = None,
    *,
    everything: All = False,
    task: OfTask = None,
    queue: OfQueue = None,
    user: OfUser = None,
    label: Labelled = None,
    since: Since = None,
    until: Until = None,
    error: Failing = None,
    yes: Yes = False,
    as_json: AsJson = False,
    store: StoreUrl = None,
    lane: LaneName = None,
) -> None:
    """Forget dead letters now, with their logs, before the time they are kept for has passed. There is no way back."""
    wanted = DeadLetterFilter(
        task=task, queue=queue, user=user, labels=labels_of(label), since=since, until=until, error=error
    )  # fmt: skip
    _one_or_the_other(ids, wanted, everything=everything)
    settings, act = settings_of(store, lane), Purge()
    if ids:
        confirm(act.question(_letters(len(ids))), yes=yes)
        print_results(asyncio.run(_each(settings, ids, act)), as_json=as_json)
    else:
        _all(settings, wanted, act, yes=yes, as_json=as_json)


def _one_or_the_other(ids: list[str] | None, wanted: DeadLetterFilter, *, everything: bool) -> None:
    """Raise `typer.BadParameter` unless jobs are named, or all that the filters leave are asked for."""
    if ids and (everything or wanted != DeadLetterFilter()):
        raise typer.BadParameter("name dead letters, or choose by --all and filters: not both.", param_hint="ID...")
    if not ids and not everything:
        raise typer.BadParameter(
            "name dead letters, or say --all (of those that the filters leave).", param_hint="ID..."
        )


def _check(arguments: str, settings: Settings, lane: str | None) -> Check:
    known = None if lane is None else load_lane(lane)
    return lambda record: check_input(arguments, record.spec, settings, known)


async def _newest(settings: Settings, wanted: DeadLetterFilter, limit: int) -> list[JobRecord]:
    async with open_client(settings) as client:
        return await newest_of(client.store, wanted, limit)


async def _each(settings: Settings, ids: list[str], act: BulkAction, check: Check | None = None) -> list[ItemResult]:
    async with open_client(settings) as client:
        results = await act_on_each(client.store, list(dict.fromkeys(ids)), act, check)
    return [ItemResult(result.job_id, EXITS[result.status], result.message) for result in results]


def _all(settings: Settings, wanted: DeadLetterFilter, act: BulkAction, *, yes: bool, as_json: bool) -> None:
    """Do something to all dead letters that are wanted, once somebody who saw how many they are has agreed."""
    if not yes:
        count = asyncio.run(_count(settings, wanted))
        if not count:
            _say_none(settings)
            return
        confirm(act.question(_letters(count)), yes=False)
    tally = BulkProgress(act.done, ("dead letter", "dead letters"))
    try:
        asyncio.run(_follow(settings, wanted, act, tally))
    finally:  # interrupted, too: what was done is done
        if as_json:
            print_json(tally.document())
        else:
            tally.tell()
    if tally.refused:
        raise typer.Exit(Exit.FAILED)


async def _count(settings: Settings, wanted: DeadLetterFilter) -> int:
    async with open_client(settings) as client:
        return await count_of(client.store, wanted)


async def _follow(settings: Settings, wanted: DeadLetterFilter, act: BulkAction, tally: BulkProgress) -> None:
    async with open_client(settings) as client:
        await tally.follow(act_on_all(client.store, wanted, act))


def _letters(count: int) -> str:
    return "1 dead letter" if count == 1 else f"{count:,} dead letters"


def _say_none(settings: Settings) -> None:
    stderr().print(f"No such dead letter in {redact_url(settings.store)}.", style="dim")


def _row(record: JobRecord, now: float) -> list[Text]:
    return [
        Text(record.id),
        Text(record.spec.task, "bold"),
        Text(record.spec.queue),
        Text(record.spec.user or ""),
        Text("" if record.ended is None else relative_time(record.ended, now), "dim"),
        attempts(record),
        Text(short(error_words(record), LONGEST_ERROR), "red"),
    ]
