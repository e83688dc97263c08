"""`sidelane workers`: which workers are alive, how they are, and what they have room for."""

import asyncio
import time
from collections.abc import Sequence

from rich.text import Text

from sidelane.admin.documents import worker_document
from sidelane.cli.opening import open_client, settings_of
from sidelane.cli.options import AsJson, LaneName, StoreUrl
from sidelane.cli.output.console import output, print_json, stderr, warning, write
from sidelane.cli.output.tables import MIN_WIDTH, Columns, fit_table
from sidelane.cli.output.time_format import relative_time
from sidelane.model.settings import Settings
from sidelane.model.worker import QueueStats, WorkerInfo
from sidelane.tasks.internal_queues import without_internal

COLUMNS = Columns(
    headers=("NAME", "HEALTH", "RUNNING", "QUEUES", "TASKS", "HOST", "PID", "STARTED"),
    expendable=("STARTED", "TASKS", "HOST", "PID"),
    elastic=("HEALTH", "QUEUES"),
)


def workers(*, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """List the workers that are alive: health, slots, queues."""
    found, stats = asyncio.run(_look(settings_of(store, lane)))
    found.sort(key=lambda worker: (worker.name, worker.started))
    if as_json:
        print_json([worker_document(worker) for worker in found])
        return
    console, now = output(), time.time()
    if found:
        write(console, fit_table(console, COLUMNS, [_row(worker, now) for worker in found]))
    else:
        stderr().print(Text("No worker is alive. Start one with `sidelane worker`.", "yellow"))
    for worker in found:
        if len(worker.health) > MIN_WIDTH:  # else it stands whole in the table, however narrow that is
            stderr().print(warning(f"{worker.name}: {worker.health}"))
    warn_of_queues(found, stats)


async def _look(settings: Settings) -> tuple[list[WorkerInfo], list[QueueStats]]:
    async with open_client(settings) as client:
        return await client.store.workers(), await client.store.stats()


def _row(worker: WorkerInfo, now: float) -> list[Text]:
    return [
        Text(worker.name, "bold"),
        _health(worker.health),
        Text(f"{worker.running} of {worker.slots}", "" if worker.running < worker.slots else "yellow"),
        Text(
            ", ".join(
                f"{name} ({slots})" if slots < worker.slots else name
                for name, slots in without_internal(worker.queues).items()
            )
        ),
        Text(str(len(without_internal(worker.tasks))), "dim"),
        Text(worker.host, "dim"),
        Text(str(worker.pid), "dim"),
        Text(relative_time(worker.started, now), "dim"),
    ]


def _health(health: str) -> Text:
    if health == "ok":
        return Text("● ok", "green")
    return Text(f"● {health}", "yellow" if health.startswith("draining") else "red")


def warn_of_queues(found: Sequence[WorkerInfo], stats: Sequence[QueueStats]) -> None:
    """Say which queues have jobs that no live worker takes."""
    for queue in stats:
        waiting = queue.queued
        if waiting and not any(queue.name in worker.queues for worker in found):
            jobs = "1 job waits" if waiting == 1 else f"{waiting} jobs wait"
            stderr().print(warning(f"{jobs} in queue {queue.name!r}, which no worker takes"))
