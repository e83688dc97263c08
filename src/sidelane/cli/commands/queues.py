"""`sidelane queues`: what waits and runs in each queue; pause, resume and drain them."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from rich.text import Text

from sidelane.admin.documents import queue_document
from sidelane.cli.commands.draining import Draining, drain_queues
from sidelane.cli.commands.workers import warn_of_queues
from sidelane.cli.groups import DefaultListGroup
from sidelane.cli.opening import open_client, settings_of
from sidelane.cli.options import AsJson, LaneName, StoreUrl
from sidelane.cli.output.console import output, print_json, stderr, warning, write
from sidelane.cli.output.results import ItemResult, print_results
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import duration, format_rate
from sidelane.model.settings import Settings
from sidelane.model.worker import QueueStats, WorkerInfo
from sidelane.processes.exit_code import Exit
from sidelane.stores.contract import Store
from sidelane.stores.factory import redact_url

COLUMNS = Columns(
    headers=("NAME", "STATE", "READY", "PARKED", "DELAYED", "RUNNING", "OLDEST", "RATE", "WORKERS"),
    expendable=("RATE", "OLDEST"),
    elastic=("NAME",),
    numbers=("READY", "PARKED", "DELAYED", "RUNNING", "OLDEST", "RATE", "WORKERS"),
)

commands = typer.Typer(
    cls=DefaultListGroup, help="What waits and runs in each queue; pause, resume and drain them. Alone: list them."
)

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of queues.", show_default=False)]


@commands.command("list")
def list_queues(*, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """List the queues: paused or open, how many jobs wait and why, how many run, how fast they start, and who serves them.

    READY jobs may start, PARKED ones wait at a limit, DELAYED ones for their time. OLDEST is how long the oldest ready job has
    waited, RATE how many jobs started over the last minute or so, WORKERS how many live workers take jobs of the queue.
    """
    settings = settings_of(store, lane)
    queues, workers = asyncio.run(_look(settings))
    if as_json:
        print_json([queue_document(queue, workers) for queue in queues])
        return
    if not queues:
        stderr().print(f"No queue has had a job in {redact_url(settings.store)} yet.", style="dim")
        return
    console = output()
    write(console, fit_table(console, COLUMNS, [_row(queue, workers) for queue in queues]))
    warn_of_queues(workers, queues)
    if paused := [queue.name for queue in queues if queue.paused and queue.queued]:
        words = f"jobs wait in paused queues: `sidelane queues resume {' '.join(paused)}` lets them start"
        stderr().print(warning(words))


@commands.command()
def pause(names: Names, *, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """Start no more jobs of these queues, everywhere and at once. What runs goes on; what is submitted waits."""
    answers = asyncio.run(_turn(settings_of(store, lane), names, paused=True))
    print_results(answers, as_json=as_json, by="name")


@commands.command()
def resume(names: Names, *, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """Let jobs of these queues start again, everywhere and at once."""
    answers = asyncio.run(_turn(settings_of(store, lane), names, paused=False))
    print_results(answers, as_json=as_json, by="name")


@commands.command()
def drain(
    names: Names,
    *,
    timeout: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="How long to wait. Else until nothing runs.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    store: StoreUrl = None,
    lane: LaneName = None,
) -> None:
    """Pause these queues and wait until none of their jobs runs. They stay paused; Ctrl-C ends the waiting alone.

    The exit code is 1 when jobs still run after --timeout.
    """
    settings = settings_of(store, lane)
    answers = asyncio.run(_turn(settings, names, paused=True))
    paused = [answer.name for answer in answers if answer.exit == Exit.DONE]
    try:
        left = asyncio.run(_drain(settings, paused, timeout)) if paused else {}
    except KeyboardInterrupt:
        stderr().print(warning(f"interrupted; still paused: {', '.join(paused)}. {_how_to_resume(paused)}"))
        raise
    told = [_drained(answer, left) if answer.exit == Exit.DONE else answer for answer in answers]
    print_results(told, as_json=as_json, by="name")


async def _look(settings: Settings) -> tuple[list[QueueStats], list[WorkerInfo]]:
    async with open_client(settings) as client:
        workers = await client.store.workers()
        return await _queues(client.store, workers), workers


async def _queues(store: Store, workers: Sequence[WorkerInfo]) -> list[QueueStats]:
    """Give every queue that has had a job, or that a live worker serves, by name."""
    found = {queue.name: queue for queue in await store.stats()}
    for worker in workers:
        for name in worker.queues:
            found.setdefault(name, QueueStats(name=name))
    return [found[name] for name in sorted(found)]


async def _turn(settings: Settings, names: Sequence[str], *, paused: bool) -> list[ItemResult]:
    """Pause or resume the queues that there are."""
    async with open_client(settings) as client:
        known = {queue.name: queue for queue in await _queues(client.store, await client.store.workers())}
        answers = []
        for name in dict.fromkeys(names):
            if name in known:
                await client.store.pause(name, paused)
            answers.append(_turned(name, known, paused=paused))
        return answers


def _turned(name: str, known: Mapping[str, QueueStats], *, paused: bool) -> ItemResult:
    queue = known.get(name)
    if queue is None:
        others = f"it knows {', '.join(known)}" if known else "it knows none yet"
        words = f"there is no such queue: the store has never seen a job or a worker of it; {others}"
        return ItemResult(name, Exit.UNKNOWN, words)
    if queue.paused == paused:
        return ItemResult(name, Exit.DONE, "was paused already" if paused else "was not paused")
    if paused:
        more = f"; {_jobs(queue.running, 'still run')}" if queue.running else ""
        return ItemResult(name, Exit.DONE, f"paused{more}")
    more = f"; {_jobs(queue.queued, 'wait')}" if queue.queued else ""
    return ItemResult(name, Exit.DONE, f"resumed{more}")


def _drained(answer: ItemResult, left: Mapping[str, int]) -> ItemResult:
    running = left.get(answer.name, 0)
    if running:
        words = f"not drained: {_jobs(running, 'still run')}; it stays paused"
        return ItemResult(answer.name, Exit.FAILED, words)
    return ItemResult(answer.name, Exit.DONE, "drained: nothing runs, and it stays paused")


async def _drain(settings: Settings, names: Sequence[str], timeout: float | None) -> dict[str, int]:
    async with open_client(settings) as client:
        with Draining() as view:
            return await drain_queues(client.store, names, timeout, view)


def _how_to_resume(names: Sequence[str]) -> str:
    return f"`sidelane queues resume {' '.join(names)}` lets their jobs start again."


def _jobs(count: int, verb: str) -> str:
    return f"1 job {verb}s" if count == 1 else f"{count:,} jobs {verb}"


def _row(queue: QueueStats, workers: Sequence[WorkerInfo]) -> list[Text]:
    serving = sum(queue.name in worker.queues for worker in workers)
    return [
        Text(queue.name, "bold"),
        Text("‖ paused", "bold yellow") if queue.paused else Text("● open", "green"),
        _number(queue.ready),
        _number(queue.waiting_for_limit, "magenta"),
        _number(queue.delayed, "yellow"),
        _number(queue.running, "bold cyan"),
        Text("" if queue.oldest is None else duration(queue.oldest)),
        Text(format_rate(queue.rate)),
        Text(f"{serving}") if serving else Text("none", "bold red" if queue.queued else "dim"),
    ]


def _number(count: int, style: str = "") -> Text:
    return Text(f"{count:,}", style if count else "dim")
