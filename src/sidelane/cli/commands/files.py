"""`sidelane files`: remove what uploads and crashes have left over."""

import asyncio

import typer

from sidelane.cli.opening import open_client, settings_of
from sidelane.cli.options import AsJson, LaneName, StoreUrl
from sidelane.cli.output.console import output, print_json, stderr
from sidelane.model.settings import Settings

commands = typer.Typer(no_args_is_help=True, help="Files: remove those that are left over.")


@commands.command()
def tidy(*, as_json: AsJson = False, store: StoreUrl = None, lane: LaneName = None) -> None:
    """Remove files that no job has come to hold within a day, and those of jobs that the store has lost.

    Processes that save files do the first part by themselves, once an hour. This looks at every file that is held, too.
    """
    settings = settings_of(store, lane)
    removed = asyncio.run(_tidy(settings))
    if as_json:
        print_json({"removed": removed})
    elif removed:
        output().print(f"Files removed: {removed}")
    else:
        stderr().print(f"Nothing is left over in {settings.file_storage}.", style="dim")


async def _tidy(settings: Settings) -> int:
    async with open_client(settings) as client:
        return await client.files.tidy(everything=True)
