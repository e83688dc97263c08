"""`sidelane files`: delete files that no job references."""

import asyncio

import typer

from sidelane.cli.locate import open_client
from sidelane.cli.options import Common, expand_options
from sidelane.cli.output.console import output, print_json, stderr
from sidelane.model.settings import Settings

commands = typer.Typer(no_args_is_help=True, help="Delete files that no job references.")


@commands.command()
@expand_options
def tidy(*, common: Common) -> None:
    """Delete files that no job has referenced within a day, and files of jobs that the store has lost.

    Processes that save files delete the former once an hour. This command also checks every referenced file.
    """
    settings = common.settings()
    removed = asyncio.run(_tidy(settings))
    if common.as_json:
        print_json({"removed": removed})
    elif removed:
        output().print(f"Files removed: {removed}")
    else:
        stderr().print(f"No file to remove in {settings.file_storage}.", style="dim")


async def _tidy(settings: Settings) -> int:
    async with open_client(settings) as client:
        return await client.files.tidy(everything=True)
