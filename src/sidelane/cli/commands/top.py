"""`sidelane top`: the live overview of a store in a terminal."""

import asyncio
import signal
import sys
from contextlib import suppress
from typing import Annotated

import typer
from rich.live import Live

from sidelane.admin.overview import current_overview
from sidelane.admin.shared_reads import SharedReads
from sidelane.cli.keyboard import pressed_keys
from sidelane.cli.locate import open_client, with_client
from sidelane.cli.options import Common, expand_options
from sidelane.cli.output.console import interactive, output, print_json, write
from sidelane.cli.output.top import QUIT, TopScreen
from sidelane.client.client import Client
from sidelane.model.errors import StoreError
from sidelane.model.settings import Settings
from sidelane.stores.factory import redact_url

INTERVAL = 2.0
"""Seconds between two reads of the store."""

MIN_INTERVAL = 0.5


@expand_options
def top(
    *,
    interval: Annotated[
        float, typer.Option(min=MIN_INTERVAL, metavar="SECONDS", help="Seconds between two reads of the store.")
    ] = INTERVAL,
    once: Annotated[bool, typer.Option("--once", help="Print everything once, without a screen.")] = False,
    common: Common,
) -> None:
    """Show what needs a person, the queues, the processes and the longest running jobs, live, until q or Ctrl-C.

    OLDEST is how long a job that could start has waited. P50 and P95 are the waits that half and 95 % of the jobs of the last hour
    did not exceed. IN and OUT are how many jobs come and start. Keys change the orders; the last line names them.
    """
    settings = common.settings()
    if once:
        _print_once(settings, as_json=common.as_json)
    elif common.as_json:
        raise typer.BadParameter("it goes with --once: a screen has no JSON.", param_hint="--json")
    elif not (interactive(output()) and sys.stdin.isatty()):
        raise typer.BadParameter("this is no terminal. `sidelane top --once` prints everything once.")
    else:
        asyncio.run(_show(settings, interval))


def _print_once(settings: Settings, *, as_json: bool) -> None:
    overview = with_client(settings, lambda client: current_overview(SharedReads(client.store)))
    if as_json:
        print_json(overview.document())
    else:
        console = output()
        write(console, *TopScreen(redact_url(settings.store), overview).lines(console))


async def _show(settings: Settings, interval: float) -> None:
    screen, changed = TopScreen(redact_url(settings.store)), asyncio.Event()

    def press(key: str) -> None:
        screen.press(key)
        changed.set()

    loop = asyncio.get_running_loop()
    async with open_client(settings) as client:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, press, QUIT)
        loop.add_signal_handler(signal.SIGWINCH, changed.set)  # the terminal has another size
        reading = asyncio.create_task(_read(client, screen, changed, interval))
        reading.add_done_callback(lambda _: press(QUIT))
        try:
            with (
                pressed_keys(press, on_closed=lambda: press(QUIT)),
                Live(screen, console=output(), screen=True, auto_refresh=False) as live,
            ):
                while not screen.closed:
                    live.refresh()
                    await changed.wait()
                    changed.clear()
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading


async def _read(client: Client, screen: TopScreen, changed: asyncio.Event, interval: float) -> None:
    """Read the store again and again, until cancelled. While it is away, the screen says so."""
    reads = SharedReads(client.store)
    while True:
        try:
            screen.overview = await current_overview(reads)
            screen.problem = ""
        except StoreError as error:
            reads.forget()
            screen.problem = str(error)
        changed.set()
        await asyncio.sleep(interval)
