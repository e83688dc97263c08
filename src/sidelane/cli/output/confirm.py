"""Asking before something that cannot be taken back, or that changes many jobs at once."""

import sys
from typing import Annotated

import typer

from sidelane.cli.output.console import stderr
from sidelane.processes.exit_code import Exit

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.", show_default=False)]


def confirm(question: str, *, yes: bool) -> None:
    """Go on only where somebody says yes, or the command line has. Ends the command where nobody is there to ask."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{question} There is nobody to ask here: add --yes.", param_hint="--yes")
    if not typer.confirm(question, err=True):
        stderr().print("Nothing was changed.", style="dim")
        raise typer.Exit(Exit.FAILED)
