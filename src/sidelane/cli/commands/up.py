"""`sidelane up`: start the whole service that `sidelane.toml` or `pyproject.toml` describes."""

from pathlib import Path
from typing import Annotated

import typer

from sidelane.cli.output.console import output, write
from sidelane.ops.description import load_description
from sidelane.ops.programs import describe_programs, programs_of


def up(
    *,
    print_programs: Annotated[
        bool, typer.Option("--print", help="Print the programs of the service, and start nothing.", show_default=False)
    ] = False,
) -> None:
    """Start the service that is described in the current folder."""
    programs = programs_of(load_description(Path.cwd()))
    if print_programs:
        write(output(), describe_programs(programs))
        return
    raise typer.BadParameter("only `sidelane up --print` works so far.", param_hint="--print")
