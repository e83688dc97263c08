"""Asking before something that cannot be taken back, or that changes many jobs at once."""

import sys
from typing import Annotated

import typer

from sidelane.cli.console import notes
from sidelane.cli.exits import Exit

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.", show_default=False)]


def ask(question: str, *, yes: bool) -> None:
    """Go on only where somebody says yes, or the command line has. Ends the command where nobody is there to ask."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{question} There is nobody to ask here: add --yes.", param_hint="--yes")
    if not typer.confirm(question, err=True):
        notes().print("Nothing was changed.", style="dim")
        raise typer.Exit(Exit.FAILED)
