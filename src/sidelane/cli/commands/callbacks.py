"""`sidelane callbacks`: whom a job tells of its end, what became of it, and telling them once more."""

import asyncio
import time
from typing import Annotated

import typer

from sidelane.admin.documents import Document, callback_document
from sidelane.callbacks.status import CallbackRecord, callbacks_of, redeliver_callbacks
from sidelane.cli.opening import open_client, settings_of
from sidelane.cli.options import AsJson, LaneName, StoreUrl
from sidelane.cli.output.callback_table import callbacks_table
from sidelane.cli.output.console import output, print_json, stderr, write
from sidelane.cli.output.results import ItemResult, print_results
from sidelane.model.errors import JobConflict, JobError
from sidelane.model.job import State
from sidelane.model.settings import Settings
from sidelane.processes.exit_code import Exit

commands = typer.Typer(
    no_args_is_help=True, help="Whom a job tells of its end, what became of it, and telling them again."
)

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.", show_default=False)]
Ids = Annotated[
    list[str],
    typer.Argument(
        metavar="ID...", help="Ids of jobs, all of whose callbacks are meant, or of callbacks.", show_default=False
    ),
]


@commands.command()
def show(job_id: JobId, *, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """Show a job's callbacks: whom each tells, how often it tried, what came back, and when it tries next."""
    records = asyncio.run(_look(settings_of(store, lane), job_id))
    if as_json:
        print_json(list(map(callback_document, records)))
    elif records:
        console = output()
        write(console, callbacks_table(console, records, time.time()))
    else:
        stderr().print("This job has no callbacks.", style="dim")


@commands.command()
def redeliver(ids: Ids, *, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """Deliver callbacks once more, now, whatever has become of them: receivers get them under the same webhook-id."""
    answers = asyncio.run(_redeliver(settings_of(store, lane), ids))
    print_results(answers, as_json=as_json)


async def _look(settings: Settings, job_id: str) -> list[CallbackRecord]:
    async with open_client(settings) as client:
        return await callbacks_of(client, job_id)


async def _redeliver(settings: Settings, ids: list[str]) -> list[ItemResult]:
    answers = []
    async with open_client(settings) as client:
        for each in ids:
            try:
                records = await redeliver_callbacks(client, each)
            except JobConflict as error:
                answers.append(ItemResult(each, Exit.FAILED, str(error), _documents([])))
            except JobError as error:
                answers.append(ItemResult(each, Exit.UNKNOWN, str(error), _documents([])))
            else:
                answers.append(_answer(each, records))
    return answers


def _answer(some_id: str, records: list[CallbackRecord]) -> ItemResult:
    if not records:
        return ItemResult(some_id, Exit.FAILED, "has no callbacks of an end", _documents(records))
    again = sum(record.state is not State.RUNNING for record in records)
    words = f"{again} to be delivered once more" if again else "is being delivered right now"
    return ItemResult(some_id, Exit.DONE, words, _documents(records))


def _documents(records: list[CallbackRecord]) -> Document:
    return {"callbacks": list(map(callback_document, records))}
