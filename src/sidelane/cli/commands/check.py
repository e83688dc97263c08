"""`sidelane check`: what the store is, whether it can be used, and what could lose jobs there."""

import asyncio
from typing import NamedTuple

import typer
from rich.text import Text

from sidelane.cli.opening import open_client, settings_of
from sidelane.cli.options import AsJson, LaneName, StoreUrl
from sidelane.cli.output.console import output, print_json, stderr, warning, write
from sidelane.model.settings import Settings
from sidelane.processes.exit_code import Exit
from sidelane.stores.factory import redact_url


class Seen(NamedTuple):
    """What the store says of itself."""

    description: str
    dangers: list[str]


def check(*, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """Say what the store is, whether it can be used, and what could lose jobs there.

    Exit code 0: all is well; 1: something could lose jobs; 3: the store cannot be used.
    """
    settings = settings_of(store, lane)
    seen = asyncio.run(_look(settings))
    url = redact_url(settings.store)
    if as_json:
        print_json({"store": url, "description": seen.description, "durability_warnings": seen.dangers})
    else:
        write(output(), Text.assemble((url, "bold"), "  ", seen.description), Text("✓ it takes jobs", "green"))
        for danger in seen.dangers:
            stderr().print(warning(f"it may lose jobs: {danger}"))
    if seen.dangers:
        raise typer.Exit(Exit.FAILED)


async def _look(settings: Settings) -> Seen:
    async with open_client(settings) as client:
        await client.store.get_or_set("checked", "yes")  # a store that can be read may be full, or locked
        return Seen(client.store.description, list(client.store.durability_warnings))
