"""`sidelane callbacks`: show a job's callbacks and deliver them again."""

import time
from typing import Annotated

import typer

from sidelane.admin.actions import redeliver
from sidelane.admin.documents import callback_document
from sidelane.callbacks.status import callbacks_of
from sidelane.cli.changes import change_jobs
from sidelane.cli.locate import with_jobs
from sidelane.cli.options import Common, expand_options
from sidelane.cli.output.console import output, print_json, stderr, write
from sidelane.cli.output.job_detail import callbacks_table
from sidelane.cli.output.results import print_results

commands = typer.Typer(no_args_is_help=True, help="Show a job's callbacks and deliver them again.")

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of a job.", show_default=False)]
Ids = Annotated[
    list[str],
    typer.Argument(metavar="ID...", help="Ids of callbacks, or of jobs for all their callbacks.", show_default=False),
]


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
