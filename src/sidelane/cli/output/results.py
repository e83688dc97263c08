"""Results of actions, per item or in bulk with live progress, and the confirmation before an action."""

import sys
from collections.abc import Sequence

import typer
from rich.text import Text

from sidelane.admin.actions import ActionResult, Status
from sidelane.cli.output.console import output, print_json, stderr
from sidelane.model.printable import printable_line
from sidelane.processes.exit_code import Exit

EXITS = {Status.DONE: Exit.DONE, Status.FAILED: Exit.FAILED, Status.NOT_FOUND: Exit.UNKNOWN}

MAX_ERRORS = 20
"""Errors of a bulk action that are printed one by one."""

CHECK, CROSS = ("✓ ", "green"), ("✗ ", "bold red")


def print_results(results: Sequence[ActionResult], *, as_json: bool, key: str = "id") -> None:
    """Print one line or JSON document per item, and exit with the highest exit code. `key` is the JSON member of the name."""
    if as_json:
        print_json([result.document(key) for result in results])
    else:
        for result in results:
            done = result.status is Status.DONE
            console = output() if done else stderr()
            console.print(Text.assemble(CHECK if done else CROSS, printable_line(f"{result.name}  {result.message}")))
    raise typer.Exit(max(EXITS[result.status] for result in results))


def confirm(question: str, *, yes: bool) -> None:
    """Ask the user unless `yes`. Ends the command if the answer is no, or if stdin is not a terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            f"{question} Cannot ask, because stdin is not a terminal: add --yes.", param_hint="--yes"
        )
    if not typer.confirm(question, err=True):
        stderr().print("Nothing was changed.", style="dim")
        raise typer.Exit(Exit.FAILED)
