"""Number of processes of a group, and whether a person has pinned it, in a file that outlives the parent process."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MAX_PROCESSES = 256
"""Processes of one group."""

_PINNED = "pinned"


@dataclass(slots=True)
class Scale:
    """How many processes a group should have. The autoscaler does not change a `pinned` number."""

    file: str | None
    processes: int
    pinned: bool = False

    @classmethod
    def load(cls, file: str | None, processes: int) -> "Scale":
        """Return what was set while the group ran before, or else this number."""
        if file is not None:
            with suppress(OSError, ValueError):
                number, _, pinned = Path(file).read_text(encoding="utf-8").partition(" ")
                return cls(file, max(0, int(number)), pinned.strip() == _PINNED)
        return cls(file, processes)

    def change(self, processes: int, *, pinned: bool = False) -> None:
        """Change the number, and save it."""
        self.processes, self.pinned = processes, pinned
        if self.file is not None:
            text = f"{processes} {_PINNED}\n" if pinned else f"{processes}\n"
            Path(self.file).write_text(text, encoding="utf-8")

    def unpin(self) -> None:
        """Let the autoscaler decide about the number again."""
        self.change(self.processes)
