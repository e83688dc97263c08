"""A service in a folder, under a real supervisord, with parents that fail as a test wants."""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from sidelane.ops.down import Down
from sidelane.ops.programs import Program
from sidelane.ops.state import StateDirectory, end_processes, find_processes
from sidelane.ops.status import Status, read_status
from sidelane.ops.supervisor import ProcessInfo, SupervisorClient
from sidelane.ops.up import Up
from tests.cli.store_driver import StoreDriver

ROOT = Path(__file__).parents[2]

WAIT = "import signal; signal.pause()"
"""A program that runs until a signal ends it."""

SHOP = "tests.system.shop:lane"

TIMEOUT = 30.0

T = TypeVar("T")


class RecordedProgress:
    """Keeps what a command reports."""

    def __init__(self, on_waiting: Callable[[], object] = lambda: None) -> None:
        self._on_waiting = on_waiting
        self.reports: list[str] = []
        self.warnings: list[str] = []
        self.failures: list[tuple[str, tuple[str, ...]]] = []
        self.states: list[dict[str, str]] = []

    def report(self, text: str) -> None:
        self.reports.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def fail(self, text: str, lines: tuple[str, ...] = ()) -> None:
        self.failures.append((text, lines))

    def waiting(self, states: Mapping[str, str]) -> None:
        self.states.append(dict(states))
        self._on_waiting()

    @property
    def texts(self) -> str:
        """All that was reported, as one text."""
        return "\n".join([*self.reports, *self.warnings, *(text for text, _ in self.failures)])


class Service:
    """One state directory, and the commands on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = StateDirectory(folder / ".sidelane")
        self.progress = RecordedProgress()
        self.store = StoreDriver(f"sqlite:///{folder / 'sidelane.db'}")
        self.on_waiting: Callable[[], object] = lambda: None
        self.environment = {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
            "SHOP_FOLDER": str(folder), "SHOP_WORKER": "shop",
        }  # fmt: skip

    def program(
        self,
        name: str,
        code: str = WAIT,
        *options: str,
        depends_on: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        address: tuple[str, int] | None = None,
        ready_timeout: float = TIMEOUT,
        autostart: bool = True,
    ) -> Program:
        """Return a group that runs Python code. `options` are those of `sidelane run`."""
        command = ("sidelane", "run", "--name", name, "--stop-first", *options, "--", sys.executable, "-c", code)
        return Program(
            name=name, kind="command", command=command, depends_on=depends_on,
            environment={**self.environment, **(environment or {})}, directory=self.folder, address=address, health=None,
            processes=1, ready_timeout=ready_timeout, stop_timeout=None, autostart=autostart,
        )  # fmt: skip

    def worker(self, name: str, processes: int = 1) -> Program:
        """Return a worker group of the shop."""
        command = ("sidelane", "worker", SHOP, "--name", name, "--processes", str(processes))
        return replace(self.program(name), kind="worker", command=command, processes=processes)

    def parent(self, name: str, code: str) -> Program:
        """Return a group whose parent process itself runs Python code, to see what happens if it fails."""
        return replace(self.program(name), command=(sys.executable, "-c", code))

    def up(self, *programs: Program, names: tuple[str, ...] = ()) -> bool:
        """Start programs. `progress` has what was reported by this call alone."""
        self.progress = RecordedProgress()
        return Up(self.state, programs, names, self.progress).run()

    def down(self, *names: str, timeout: float | None = None) -> bool:
        self.progress = RecordedProgress(self.on_waiting)
        return Down(self.state, self.progress, timeout).run(names)

    def status(self) -> Status:
        return read_status(self.state)

    def processes(self) -> dict[str, ProcessInfo]:
        """Return the programs as supervisord sees them."""
        return SupervisorClient(self.state).programs()

    def pids(self) -> dict[str, int]:
        return {name: info.pid for name, info in self.processes().items()}

    def supervisor(self) -> int:
        """Return the process id of supervisord."""
        return SupervisorClient(self.state).pid()

    def log(self, name: str) -> str:
        path = self.state.log(name)
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def left(self) -> list[str]:
        """Return what a complete stop must not leave: processes, sockets, and files except logs."""
        kept = {self.state.logs, self.state.path / ".gitignore"}
        files = [path for path in self.state.path.rglob("*") if path.suffix != ".log" and path not in kept]
        return [str(path) for path in files] + [each.title for each in find_processes(self.state)]

    def stop(self) -> None:
        """End all of its processes, as the end of a test."""
        found = find_processes(self.state)
        for each in found:
            each.send(signal.SIGCONT)
        end_processes(found, timeout=5)
        self.state.clean()


def wait_until(condition: Callable[[], T], what: str) -> T:
    """Call `condition` until its value is true, and return it."""
    end = time.monotonic() + TIMEOUT
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {TIMEOUT:g} s: {what}"
        time.sleep(0.05)
    return found
