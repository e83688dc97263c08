"""Results of actions, per item or in bulk with live progress, and the confirmation before an action."""

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import nullcontext

import typer
from rich.text import Text

from sidelane.admin.actions import ActionResult, Status
from sidelane.admin.documents import Document
from sidelane.cli.output.console import interactive, output, print_json, stderr
from sidelane.model.job import State
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


def print_cancelled(counts: Mapping[State, int], *, as_json: bool) -> None:
    """Print how many jobs were cancelled, asked to stop, or had ended before, from the number of jobs in each state now."""
    cancelled, stopping = counts.get(State.CANCELLED, 0), counts.get(State.RUNNING, 0)
    ended = sum(counts.values()) - cancelled - stopping
    if as_json:
        print_json({"cancelled": cancelled, "stopping": stopping, "ended": ended})
        return
    text = f"{cancelled:,} {'job' if cancelled == 1 else 'jobs'} cancelled"
    text += f", {stopping:,} running: cancellation requested" if stopping else ""
    text += f", {ended:,} had ended" if ended else ""
    output().print(Text.assemble(CHECK, text))


class BulkProgress:
    """Counts the items of a bulk action, live on a terminal.

    `past_tense` is the word for the action, e.g. "requeued"; `nouns` are the singular and plural of its items.
    """

    def __init__(self, past_tense: str, nouns: tuple[str, str]) -> None:
        self._past_tense = past_tense
        self._nouns = nouns
        self.done = 0
        self.errors: dict[str, str] = {}

    async def track(self, chunks: AsyncIterator[Mapping[str, str]]) -> None:
        """Count the items of each chunk. A chunk maps ids to error messages, which are empty if the action succeeded."""
        console = stderr()
        with console.status(self._summary()) if interactive(console) else nullcontext() as status:
            async for chunk in chunks:
                self.errors |= {name: error for name, error in chunk.items() if error}
                self.done += sum(not error for error in chunk.values())
                if status is not None:
                    status.update(self._summary())

    def print(self) -> None:
        """Print the number of changed items, and the first errors."""
        output().print(Text.assemble(CHECK, self._summary()))
        for name, error in list(self.errors.items())[:MAX_ERRORS]:
            stderr().print(Text.assemble(CROSS, printable_line(f"{name}  not {self._past_tense}: {error}")))
        more = len(self.errors) - MAX_ERRORS
        if more > 0:
            stderr().print(Text.assemble(CROSS, f"{more:,} more were not {self._past_tense}"))

    def document(self) -> Document:
        """Return the number of changed items and all errors as JSON."""
        errors = [{"id": name, "message": error} for name, error in self.errors.items()]
        return {self._past_tense: self.done, "errors": errors}

    def _summary(self) -> str:
        return f"{self.done:,} {self._nouns[self.done != 1]} {self._past_tense}"
