"""One process of `sidelane dev`: started again when the code changes, or when it died after running a while."""

import asyncio
import time
from collections.abc import Sequence

from sidelane.cli.output.prefixed import SELF, PrefixedOutput
from sidelane.processes.child import CliProcess
from sidelane.processes.exit_code import Exit
from sidelane.processes.supervisor import describe_exit

STOP_TIMEOUT = 6.0
"""Seconds a process has to end before it is killed."""

EARLY_EXIT = 3.0
"""Seconds: a process that ends by itself sooner than this after its start waits for a change of the code, as does, however long
that took, one that says that it cannot work as it is."""

RESTART_DELAY = 1.0
"""Seconds before a process that died is started again."""


class DevProcess:
    """Keeps one process running. `farewell` is the signal that asks it to end; `files` are those it inherits."""

    def __init__(
        self, name: str, arguments: Sequence[str], farewell: int, terminal: PrefixedOutput, files: Sequence[int] = ()
    ) -> None:
        self.name = name
        self._farewell = farewell
        self._terminal = terminal
        self._child = CliProcess(
            name,
            arguments,
            environment=terminal.environment,
            on_line=lambda line: terminal.say(name, line),
            files=files,
        )
        self._changed = asyncio.Event()

    def restart(self) -> None:
        """Start it again, from the code as it is now."""
        self._changed.set()

    async def run(self) -> None:
        """Keep it running until cancelled."""
        while True:
            self._changed.clear()
            await self._child.start()
            began = time.monotonic()
            try:
                status = await self._ended_or_changed()
            finally:
                await asyncio.shield(self._child.stop(self._farewell, STOP_TIMEOUT))
            if status is not None:
                await self._mourn(status, time.monotonic() - began)

    async def _ended_or_changed(self) -> int | None:
        """Wait for its end (its status) or for a change of the code (None)."""
        ended, changed = asyncio.create_task(self._child.wait()), asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait([ended, changed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
        return ended.result() if ended.done() else None

    async def _mourn(self, status: int, lived: float) -> None:
        """Say that it ended by itself, and wait until it is worth starting again."""
        if lived > EARLY_EXIT and status != Exit.CONFIGURATION:
            self._terminal.say(SELF, f"{self.name} died ({describe_exit(status)}); it starts again")
            await asyncio.sleep(RESTART_DELAY)
            return
        self._terminal.say(SELF, f"{self.name} ended ({describe_exit(status)}); it starts again when the code changes")
        await self._changed.wait()
