"""`sidelane files`: delete files that no job references."""

import typer

from sidelane.admin.actions import ActionResult, Status
from sidelane.cli.changes import keep_line
from sidelane.cli.locate import with_client
from sidelane.cli.options import Common, expand_options
from sidelane.cli.output.console import output, print_json, stderr
from sidelane.client.client import Client

commands = typer.Typer(no_args_is_help=True, help="Delete files that no job references.")


@commands.command()
@expand_options
def tidy(*, common: Common) -> None:
    """Delete files that no job has referenced within a day, and files of jobs that the store has lost.

    Processes that save files delete the former once an hour. This command also checks every referenced file.
    """
    settings = common.settings()

    async def act(client: Client) -> int:
        removed = await client.files.tidy(everything=True)
        await keep_line(client.store, "file.tidy", [ActionResult("files", Status.DONE, f"{removed} removed")])
        return removed

    removed = with_client(settings, act)
    if common.as_json:
        print_json({"removed": removed})
    elif removed:
        output().print(f"Files removed: {removed}")
    else:
        stderr().print(f"No file to remove in {settings.file_storage}.", style="dim")
