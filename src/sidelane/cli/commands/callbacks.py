"""`sidelane callbacks`: list callbacks and the receivers that they do not reach, show those of a job, deliver them again."""

import time
from typing import Annotated

import typer
from rich.text import Text

from sidelane.admin.actions import redeliver
from sidelane.admin.callbacks import (
    MAX_SEARCHED,
    FailingReceiver,
    failing_receivers,
    newest_callbacks,
    receiver_document,
)
from sidelane.admin.documents import callback_document
from sidelane.callbacks.status import callbacks_of
from sidelane.cli.changes import change_jobs
from sidelane.cli.locate import with_client, with_jobs
from sidelane.cli.options import Common, DefaultListGroup, MaxItems, expand_options
from sidelane.cli.output.console import output, print_json, stderr, write
from sidelane.cli.output.job_detail import ERROR_NAME, callbacks_table
from sidelane.cli.output.results import print_results
from sidelane.cli.output.states import one_line
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import relative_time
from sidelane.stores.factory import redact_url

RECEIVERS = Columns(
    headers=("RECEIVER", "FAILED", "RETRYING", "SINCE", "NEWEST ERROR"),
    droppable=("SINCE",),
    shrinkable=("RECEIVER", "NEWEST ERROR"),
    numbers=("FAILED", "RETRYING"),
)

MAX_ERROR = 200
"""Characters of an error."""

commands = typer.Typer(
    cls=DefaultListGroup,
    help="List callbacks, list receivers that they do not reach, show those of a job, deliver them again. Without a command: list "
    "callbacks.",
)

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of a job.", show_default=False)]
Ids = Annotated[
    list[str],
    typer.Argument(metavar="ID...", help="Ids of callbacks, or of jobs for all their callbacks.", show_default=False),
]


@commands.command("list")
@expand_options
def list_(
    *,
    receiver: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Only to this receiver, as `receivers` names it, e.g. be.example.com:443.",
            show_default=False,
        ),
    ] = None,
    limit: MaxItems = 50,
    common: Common,
) -> None:
    """List the newest callbacks of all jobs: receiver, number of tries, last answer, and time of the next try."""
    settings = common.settings()
    page = with_client(settings, lambda client: newest_callbacks(client.store, limit, receiver=receiver, before=None))
    if common.as_json:
        print_json(
            [{**callback_document(each.record), "receiver": each.receiver, "job": each.job} for each in page.callbacks]
        )
    elif page.callbacks:
        console = output()
        write(console, callbacks_table(console, [each.record for each in page.callbacks], time.time()))
    else:
        searched = f"None of the newest {MAX_SEARCHED:,} jobs in {redact_url(settings.store)} is"
        stderr().print(f"{searched} {'such a' if receiver else 'a'} callback.", style="dim")


@commands.command()
@expand_options
def receivers(*, common: Common) -> None:
    """List the receivers that callbacks do not reach: how many failed for good, how many try again, since when, and why."""
    settings = common.settings()
    found = with_client(settings, lambda client: failing_receivers(client.store))
    if common.as_json:
        print_json(list(map(receiver_document, found)))
    elif found:
        console, now = output(), time.time()
        write(console, fit_table(console, RECEIVERS, [_receiver_row(each, now) for each in found]))
    else:
        stderr().print(f"All callbacks in {redact_url(settings.store)} reach their receivers.", style="dim")


@commands.command()
@expand_options
def show(job_id: JobId, *, common: Common) -> None:
    """Show a job's callbacks: receiver, number of tries, last answer, and time of the next try."""
    records = with_jobs(common.settings(), [job_id], lambda client, ids: callbacks_of(client, ids[0]))
    if common.as_json:
        print_json(list(map(callback_document, records)))
    elif records:
        console = output()
        write(console, callbacks_table(console, records, time.time()))
    else:
        stderr().print("This job has no callbacks.", style="dim")


@commands.command("redeliver")
@expand_options
def redeliver_(ids: Ids, *, common: Common) -> None:
    """Deliver callbacks again now, whatever their state. Receivers get the same webhook-id as before."""
    results = change_jobs(common.settings(), ids, "callback.redeliver", redeliver)
    print_results(results, as_json=common.as_json)


def _receiver_row(failing: FailingReceiver, now: float) -> list[Text]:
    return [
        Text(failing.receiver, "bold"),
        Text(f"{failing.failed:,}", "red" if failing.failed else "dim"),
        Text(f"{failing.retrying:,}", "yellow" if failing.retrying else "dim"),
        Text(relative_time(failing.since, now), "dim"),
        Text(one_line(ERROR_NAME.sub("", failing.error), MAX_ERROR), "red"),
    ]
