"""`sidelane tasks`: list the tasks that workers have or that ran, with their history."""

from rich.text import Text

from sidelane.admin.figures import Chart, History, history_document, read_history
from sidelane.cli.locate import with_client
from sidelane.cli.options import Common, HistorySince, expand_options
from sidelane.cli.output.console import print_json, stderr
from sidelane.cli.output.history_tables import print_tasks
from sidelane.client.client import Client
from sidelane.model.durations import DAY
from sidelane.stores.factory import redact_url
from sidelane.tasks.internal_queues import without_internal


@expand_options
def tasks(*, since: HistorySince = None, common: Common) -> None:
    """List the tasks that live workers have or that ran since a time, by default within a day.

    STARTS is a chart of the attempts that STARTED. FAILED is the share of failed jobs. WAIT is how long jobs waited until they
    started, without the time they could not start. RUN is how long attempts ran, and FIRST the time to their first event. P50 is
    the median; P95 is what 95 % do not exceed. A task that ran in several releases has one more line for each release.
    """
    settings = common.settings()
    history, charts = with_client(settings, lambda client: _read(client, DAY if since is None else since))
    if common.as_json:
        print_json(history_document(history, "tasks", charts))
    elif charts:
        print_tasks(history, charts)
    else:
        stderr().print(Text(f"No task in {redact_url(settings.store)} yet.", "dim"))


async def _read(client: Client, seconds: float) -> tuple[History, dict[str, Chart]]:
    """Return the history, and the chart of each task, also of those that only workers know."""
    history = await read_history(client.store, seconds)
    known = [name for worker in await client.store.workers() for name in worker.tasks]
    return history, without_internal(history.by_task(known))
