"""`sidelane tasks`: list the tasks that workers have or that ran, with their history; pause and resume tasks."""

import time
from typing import Annotated

import typer
from rich.text import Text

from sidelane.admin.figures import Chart, History, history_document, read_history
from sidelane.admin.pauses import pause_text, set_tasks_paused
from sidelane.cli.changes import PauseOptions, change
from sidelane.cli.locate import with_client
from sidelane.cli.options import Common, DefaultListGroup, HistorySince, expand_options
from sidelane.cli.output.console import print_json, stderr
from sidelane.cli.output.history_tables import print_tasks
from sidelane.cli.output.results import print_results
from sidelane.client.client import Client
from sidelane.client.pauses import Pauses, read_pauses
from sidelane.model.durations import DAY
from sidelane.stores.factory import redact_url
from sidelane.tasks.internal_queues import without_internal

commands = typer.Typer(cls=DefaultListGroup, help="List, pause and resume tasks. Without a command: list them.")

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of tasks.", show_default=False)]


@commands.command("list")
@expand_options
def list_(*, since: HistorySince = None, common: Common) -> None:
    """List the tasks that live workers have or that ran since a time, by default within a day.

    STARTS is a chart of the attempts that STARTED. FAILED is the share of failed jobs. WAIT is how long jobs waited until they
    started, without the time they could not start. RUN is how long attempts ran, and FIRST the time to their first event. P50 is
    the median; P95 is what 95 % do not exceed. A task that ran in several releases has one more line for each release.
    """
    settings = common.settings()
    history, charts, pauses = with_client(settings, lambda client: _read(client, DAY if since is None else since))
    if common.as_json:
        print_json(history_document(history, "tasks", charts))
    elif charts:
        print_tasks(history, charts)
        for name, pause in pauses.tasks.items():
            text = f"{name} is paused {pause_text(pause, time.time())}".rstrip()
            stderr().print(text, style="yellow", markup=False, highlight=False)
    else:
        stderr().print(Text(f"No task in {redact_url(settings.store)} yet.", "dim"))


@commands.command()
@expand_options
def pause(names: Names, *, options: PauseOptions, common: Common) -> None:
    """Start no more jobs of these tasks, on any worker. Running jobs go on; jobs can still be submitted."""
    results = change(
        common.settings(),
        "task.pause",
        lambda client: set_tasks_paused(client.store, names, paused=True, request=options.request()),
        reason=options.reason,
    )
    print_results(results, as_json=common.as_json, key="name")


@commands.command()
@expand_options
def resume(names: Names, *, common: Common) -> None:
    """Let jobs of these tasks start again, on all workers."""
    results = change(
        common.settings(), "task.resume", lambda client: set_tasks_paused(client.store, names, paused=False)
    )
    print_results(results, as_json=common.as_json, key="name")


async def _read(client: Client, seconds: float) -> tuple[History, dict[str, Chart], Pauses]:
    """Return the history, the chart of each task, also of those that only workers know, and what is paused."""
    history = await read_history(client.store, seconds)
    known = [name for worker in await client.store.workers() for name in worker.tasks]
    return history, without_internal(history.by_task(known)), await read_pauses(client.store)
