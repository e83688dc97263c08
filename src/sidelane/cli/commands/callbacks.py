"""`sidelane callbacks`: show a job's callbacks and deliver them again."""

import asyncio
import time
from typing import Annotated

import typer

from sidelane.admin.actions import ActionResult, redeliver
from sidelane.admin.documents import callback_document
from sidelane.callbacks.status import CallbackRecord, callbacks_of
from sidelane.cli.locate import open_client
from sidelane.cli.options import Common, expand_options
from sidelane.cli.output.console import output, print_json, stderr, write
from sidelane.cli.output.job_detail import callbacks_table
from sidelane.cli.output.results import print_results
from sidelane.model.settings import Settings

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
    records = asyncio.run(_show(common.settings(), job_id))
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
    print_results(asyncio.run(_redeliver(common.settings(), ids)), as_json=common.as_json)


async def _show(settings: Settings, job_id: str) -> list[CallbackRecord]:
    async with open_client(settings) as client:
        return await callbacks_of(client, job_id)


async def _redeliver(settings: Settings, ids: list[str]) -> list[ActionResult]:
    async with open_client(settings) as client:
        return await redeliver(client, ids)
