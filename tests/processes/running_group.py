"""A group under a parent process, as tests see it through the control socket."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from sidelane.processes.control import call
from tests.system.waiting import until

TIMEOUT = 60.0


class RunningGroup:
    """The answers of a group's control socket."""

    def __init__(self, control: Path) -> None:
        self.control = control

    def call(self, **request: Any) -> list[dict[str, Any]]:
        """Send a request, and return the lines of the answer."""
        return list(call(self.control, request, timeout=TIMEOUT))

    @property
    def status(self) -> dict[str, Any]:
        """The state of the group, or nothing before its parent listens."""
        with suppress(OSError):
            return self.call(command="status")[0]
        return {}

    @property
    def pids(self) -> set[int]:
        return {process["pid"] for process in self.status.get("processes", [])}

    async def ready(self) -> None:
        """Wait until all processes are ready."""
        await until(lambda: self.status.get("state") == "ready", "all processes are ready", within=TIMEOUT)

    async def replaced(self, before: set[int]) -> None:
        """Wait until none of these processes runs, and the group is ready."""
        await until(lambda: not self.pids & before, "the old processes have ended", within=TIMEOUT)
        await self.ready()
