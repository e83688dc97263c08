"""How far a command has come that changes many things in pieces, and what it could not change."""

from collections.abc import AsyncIterator, Mapping
from contextlib import nullcontext

from rich.text import Text

from sidelane.admin.documents import Document
from sidelane.cli.output.console import interactive, output, stderr

MAX_NAMED = 20
"""Refusals that are told one by one."""


class BulkProgress:
    """Counts what was done, live on a terminal. `done` is the word for it: "requeued"; `what` says of what: "dead letters"."""

    def __init__(self, done: str, what: tuple[str, str]) -> None:
        self._word = done
        self._what = what
        self.done = 0
        self.refused: dict[str, str] = {}

    async def follow(self, pieces: AsyncIterator[Mapping[str, str]]) -> None:
        """Take part in what is done in pieces; each says of things, by id, why they could not be, or nothing."""
        console = stderr()
        with console.status(self._words()) if interactive(console) else nullcontext() as status:
            async for piece in pieces:
                self.refused |= {name: wrong for name, wrong in piece.items() if wrong}
                self.done += sum(not wrong for wrong in piece.values())
                if status is not None:
                    status.update(self._words())

    def tell(self) -> None:
        """Print how many were done, and what could not be."""
        output().print(Text.assemble(("✓ ", "green"), self._words()))
        for name, wrong in list(self.refused.items())[:MAX_NAMED]:
            stderr().print(Text.assemble(("✗ ", "bold red"), name, f"  not {self._word}: {wrong}"))
        more = len(self.refused) - MAX_NAMED
        if more > 0:
            stderr().print(Text.assemble(("✗ ", "bold red"), f"{more:,} more were not {self._word}"))

    def document(self) -> Document:
        refused = [{"id": name, "answer": wrong} for name, wrong in self.refused.items()]
        return {self._word: self.done, "refused": refused}

    def _words(self) -> str:
        return f"{self.done:,} {self._what[self.done != 1]} {self._word}"
