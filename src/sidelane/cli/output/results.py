"""What a command did about each thing that it was named: a line or a document each, and the exit code of the worst."""

from collections.abc import Sequence
from dataclasses import dataclass

import typer
from rich.text import Text

from sidelane.admin.documents import Document
from sidelane.cli.output.console import output, print_json, stderr
from sidelane.processes.exit_code import Exit


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What became of one thing, named by its id or name. `more` are further members of its document."""

    name: str
    exit: Exit
    words: str
    more: Document | None = None


def print_results(answers: Sequence[ItemResult], *, as_json: bool, by: str = "id") -> None:
    """Print what became of each, and end with the worst of the exit codes. `by` is what a document calls the name."""
    if as_json:
        print_json([_document(answer, by) for answer in answers])
    else:
        for answer in answers:
            good = answer.exit == Exit.DONE
            mark = ("✓ ", "green") if good else ("✗ ", "bold red")
            (output() if good else stderr()).print(Text.assemble(mark, answer.name, "  ", answer.words))
    raise typer.Exit(max(answer.exit for answer in answers))


def _document(answer: ItemResult, by: str) -> Document:
    return {by: answer.name, "done": answer.exit == Exit.DONE, "answer": answer.words, **(answer.more or {})}
