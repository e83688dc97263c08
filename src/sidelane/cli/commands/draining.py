"""Waiting until no job of some queues runs any more, with a line that says how many still do."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.status import Status
from rich.text import Text

from sidelane.cli.output.console import interactive, stderr
from sidelane.cli.output.time_format import duration
from sidelane.stores.contract import Store

POLL_INTERVAL = 0.25
"""Seconds between two looks: nothing hints at it when a job of a queue ends."""


class Draining:
    """Says how many jobs still run: on a terminal in one line that stays, elsewhere in a line each time it changes."""

    def __init__(self) -> None:
        self._notes = stderr()
        self._status: Status | None = self._notes.status("") if interactive(self._notes) else None
        self._began = time.monotonic()
        self._shown: Mapping[str, int] = {}

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def show(self, running: Mapping[str, int]) -> None:
        """Say how many jobs of which queue still run."""
        words = "still running: " + ", ".join(f"{count:,} of {name}" for name, count in running.items())
        if self._status is not None:
            waited = duration(time.monotonic() - self._began)
            self._status.update(Text.assemble(words, (f"  {waited}", "dim")))
        elif running != self._shown:
            self._notes.print(words)
        self._shown = running


async def drain_queues(store: Store, names: Sequence[str], timeout: float | None, view: Draining) -> dict[str, int]:
    """Wait until no job of these queues runs, at most `timeout` seconds; give how many of which still do."""
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        stats = {queue.name: queue.running for queue in await store.stats()}
        running = {name: stats[name] for name in names if stats.get(name)}
        if not running:
            return {}
        view.show(running)
        left = POLL_INTERVAL if end is None else min(POLL_INTERVAL, end - time.monotonic())
        if left <= 0:
            return running
        await asyncio.sleep(left)
