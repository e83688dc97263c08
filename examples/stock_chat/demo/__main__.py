"""Run the demo: `make demo`. KEEP=1 leaves everything running until Ctrl-C."""

import asyncio
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from httpx2 import AsyncClient, HTTPError, Timeout
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from examples.stock_chat.demo.conversation import ABOUT, CHAT
from examples.stock_chat.demo.failure import DemoFailed
from examples.stock_chat.demo.latency import measure_latency
from examples.stock_chat.demo.processes import Processes
from examples.stock_chat.demo.service import WORKERS, start_api, start_model, start_worker, use_own_store
from examples.stock_chat.demo.steps import Rows, Stage, drop_and_resume, survive_a_kill
from sidelane import Sidelane

LIGHT = f"/api/v1/stocks/{ABOUT['stock_code']}"
IDLE_DURATION = 3.0  # seconds of measuring the light endpoint before the load begins


async def run(console: Console, folder: Path) -> None:
    """Start everything, run the steps, and stop everything."""
    logging.getLogger("sidelane").setLevel(logging.ERROR)  # the steps print what happens
    processes = Processes(folder)
    try:
        url = await start(console, processes)
        lane = Sidelane(store=processes.environment["SIDELANE_STORE"])
        async with AsyncClient(base_url=url, timeout=Timeout(30, read=60)) as client, lane.open():
            rows = await run_steps(Stage(client, processes, lane, console))
        console.print(table(rows))
        if os.environ.get("KEEP"):
            await keep_running(console, processes, url)
    finally:
        await processes.stop()


async def start(console: Console, processes: Processes) -> str:
    """Start the model, the API and the workers, and return the API's URL."""
    use_own_store(processes)
    console.print("Starting the language model, the API and two workers ...")
    console.print(f"  model   {await start_model(processes)}")
    url = await start_api(processes)
    console.print(f"  API     {url}")
    for name in WORKERS:
        console.print(f"  worker  {name}, process {await start_worker(processes, name)}")
    return url


async def run_steps(stage: Stage) -> Rows:
    """Run the steps, and measure the light endpoint meanwhile."""
    async with measure_latency(stage.client, LIGHT) as idle:
        await asyncio.sleep(IDLE_DURATION)
    async with measure_latency(stage.client, LIGHT) as loaded:
        rows = [*await drop_and_resume(stage), *await survive_a_kill(stage)]
    return [*rows, ("Light endpoint when idle", str(idle)), ("Light endpoint under load", str(loaded))]


def table(rows: Rows) -> Table:
    table = Table("Step", "Result", title="The stock chat", title_justify="left")
    for row in rows:
        table.add_row(*row)
    return table


async def keep_running(console: Console, processes: Processes, url: str) -> None:
    """Keep everything running until Ctrl-C."""
    await start_worker(processes, "w3")  # replaces the killed one
    console.print(f"\nThe service is running.\n  API    {url}/docs\n  files  {processes.folder}\n")
    console.print("Ask something yourself:\n")
    question = json.dumps({"message": "What does it make?", **ABOUT})
    console.out(
        f"  curl -N {url}{CHAT.format(session='mine')}/stream -H 'X-User: me' \\\n"
        "    -H 'Accept: text/event-stream' -H 'Content-Type: application/json' \\\n"
        f"    -d '{question}'\n"
    )
    console.print("Stop it with Ctrl-C.")
    await asyncio.Event().wait()


async def until_stopped(console: Console, folder: Path) -> bool:
    """Run to the end, or until a signal; return False after a signal."""
    running = asyncio.ensure_future(run(console, folder))
    for stop in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(stop, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        return False
    return True


def main() -> int:
    console = Console()
    folder = Path(tempfile.mkdtemp(prefix="stock-chat-"))
    try:
        completed = asyncio.run(until_stopped(console, folder))
    except (DemoFailed, HTTPError) as failure:
        reason = str(failure) or type(failure).__name__
        console.print(
            f"\n[bold red]The demo failed:[/bold red] {escape(reason)}\nThe logs are in {folder}.", highlight=False
        )
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0 if completed or os.environ.get("KEEP") else 130


if __name__ == "__main__":
    sys.exit(main())
