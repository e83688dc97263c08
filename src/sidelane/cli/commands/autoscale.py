"""`sidelane autoscale`: decide how many processes the groups of a running service have, until a signal stops it."""

import asyncio
import os
import signal
from collections.abc import Mapping
from typing import Annotated

import typer

from sidelane.cli.options import LogLevel, level_of, log_options
from sidelane.cli.service_options import StateDir, state_directory
from sidelane.configuration import load_settings
from sidelane.ops.autoscaler import Autoscaler
from sidelane.ops.groups import AUTOSCALER
from sidelane.ops.state import StateDirectory
from sidelane.outage import RetryUntilAvailable
from sidelane.processes.child import exit_with_parent
from sidelane.processes.logs import log_to_stderr
from sidelane.sizing.scaling import Bounds
from sidelane.stores.factory import open_store


def autoscale(
    bounds: Annotated[
        list[str], typer.Argument(metavar="NAME=LEAST..MOST...", help="Worker groups with bounds.", show_default=False)
    ],
    *,
    log_level: LogLevel = None,
    state_dir: StateDir = None,
) -> None:
    """Decide how many processes worker groups have, e.g. `sidelane autoscale chat=1..8`, until a signal stops it.

    `sidelane up` starts this command for groups with `autoscale` in the description or `--autoscale`.
    """
    parsed = {name: Bounds.parse(text) for name, text in bounds_by_name(bounds).items()}
    exit_with_parent(os.getppid())
    log_to_stderr(log_options(AUTOSCALER, level_of(log_level)))
    asyncio.run(_run(state_directory(state_dir), parsed, load_settings().settings.store))


async def _run(state: StateDirectory, bounds: Mapping[str, Bounds], url: str) -> None:
    store = await RetryUntilAvailable("open the store", who="autoscaler").call(lambda: open_store(url))
    if store is None:
        return
    running = asyncio.create_task(Autoscaler(state, bounds, store).run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    await asyncio.wait([running])
    await store.close()
    if not running.cancelled():
        running.result()


def bounds_by_name(texts: list[str]) -> dict[str, str]:
    """Parse values of the form NAME=LEAST..MOST. Raises `typer.BadParameter`."""
    found = {}
    for text in texts:
        name, _, bounds = text.partition("=")
        if not name:
            raise typer.BadParameter(f"{text!r}: write NAME=LEAST..MOST, e.g. chat=1..8.")
        try:
            Bounds.parse(bounds)
        except ValueError as error:
            raise typer.BadParameter(f"{name}: {error}") from error
        found[name] = bounds
    return found
