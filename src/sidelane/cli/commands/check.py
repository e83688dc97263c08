"""`sidelane check`: whether the store can be used, and what could lose jobs there."""

from typing import NamedTuple

import typer
from rich.text import Text

from sidelane.cli.locate import with_client
from sidelane.cli.options import Common, expand_options
from sidelane.cli.output.console import output, print_json, stderr, warning, write
from sidelane.client.client import Client
from sidelane.processes.exit_code import Exit
from sidelane.stores.factory import redact_url


class StoreCheck(NamedTuple):
    """A store's description of itself."""

    description: str
    durability_warnings: list[str]


@expand_options
def check(*, common: Common) -> None:
    """Check the store: what it is, whether it can be used, and what could lose jobs there.

    Exit code 0: no problem; 1: jobs could be lost; 3: the store cannot be used.
    """
    settings = common.settings()
    found = with_client(settings, _check)
    url = redact_url(settings.store)
    if common.as_json:
        print_json({"store": url, **found._asdict()})
    else:
        write(output(), Text.assemble((url, "bold"), "  ", found.description), Text("✓ it accepts jobs", "green"))
        for problem in found.durability_warnings:
            stderr().print(warning(f"it may lose jobs: {problem}"))
    if found.durability_warnings:
        raise typer.Exit(Exit.FAILED)


async def _check(client: Client) -> StoreCheck:
    await client.store.get_or_set("checked", "yes")  # a store that can be read may be full or locked
    return StoreCheck(client.store.description, list(client.store.durability_warnings))
