"""Real processes for tests. Each process writes a separate log file in one folder."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.system.shop import NOTES, gate_of

ROOT = Path(__file__).parents[2]

STOP_TIMEOUT = 10.0

SHOP = "tests.system.shop:lane"


@dataclass(frozen=True, slots=True)
class RunningProcess:
    """One process of a test."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def exited(self) -> bool:
        return self.process.poll() is not None

    @property
    def status(self) -> int | None:
        """Return its exit status, or minus the signal that ended it, or None while it runs."""
        return self.process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it, as a crash does."""
        self.process.kill()
        self.process.wait()

    def send_line(self, line: str) -> None:
        """Send it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def logged(self, text: str) -> bool:
        """Return whether it has logged this text."""
        return text in self.log.read_text(errors="replace")

    def log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])


class Processes:
    """The processes of one test, on one store in one folder."""

    def __init__(self, folder: Path, store: str, *, lease: float) -> None:
        self.folder = folder
        self.store = store
        self._started: list[RunningProcess] = []
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("SIDELANE_", "SHOP_"))}
        self._environment = {
            **outside,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
            "SIDELANE_STORE": self.store,
            "SIDELANE_LEASE_DURATION": str(lease),
            "SIDELANE_SECRET": "a secret of these tests, and of nothing else",
            "SHOP_FOLDER": str(folder),
        }

    def worker(self, name: str, lane: str = SHOP, **environment: str) -> RunningProcess:
        """Start a worker."""
        command = [sys.executable, "-m", "sidelane.cli", "worker", lane, "--name", name, "--log-level", "DEBUG"]
        return self.start(name, *command, SHOP_WORKER=name, **environment)

    def api(
        self, name: str = "api", *, under: tuple[str, ...] = (), loop: str = "asyncio", port: int = 0
    ) -> RunningProcess:
        """Start the HTTP service, `under` another program if asked; port 0 lets it choose one."""
        uvicorn = ["-m", "uvicorn", "tests.system.api:app", "--port", str(port), "--loop", loop, "--http", "h11"]
        return self.start(name, *under, sys.executable, *uvicorn)

    def python(self, name: str, module: str, *arguments: str) -> RunningProcess:
        """Start `python -m <module> ...`; `send_line` writes to its standard input."""
        return self.start(name, sys.executable, "-m", module, *arguments)

    def start(self, name: str, *command: str, **environment: str) -> RunningProcess:
        log = self.folder / f"{name}-{len(self._started)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, cwd=self.folder,
                env={**self._environment, **environment}, start_new_session=True,
            )  # fmt: skip
        started = RunningProcess(name, process, log)
        self._started.append(started)
        return started

    def named(self, name: str) -> list[RunningProcess]:
        """Return the processes of this name, including those that have exited."""
        return [started for started in self._started if started.name == name]

    def open_gate(self, worker: str) -> None:
        """Let the `hold` tasks of that worker continue."""
        (self.folder / gate_of(worker)).touch()

    def close_gate(self, worker: str) -> None:
        """Let further `hold` tasks of that worker wait."""
        (self.folder / gate_of(worker)).unlink()

    def notes(self, what: str, job: str | None = None) -> list[dict[str, Any]]:
        """Return the notes of the tasks. The last line may be incomplete."""
        file = self.folder / NOTES
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        notes = [json.loads(line) for line in lines if line.endswith("\n")]
        return [each for each in notes if each["what"] == what and job in (None, each["job"])]

    def stop(self) -> None:
        """End all of them."""
        for started in self._started:
            if not started.exited:
                started.signal(signal.SIGCONT)
                started.signal(signal.SIGTERM)
        end = time.monotonic() + STOP_TIMEOUT
        for started in self._started:
            try:
                started.process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                started.kill()
            if started.process.stdin is not None:
                started.process.stdin.close()

    def report(self) -> str:
        """Return the last lines of each log, for a test that failed."""
        return "\n\n".join(f"--- {each.name} ({each.status}) ---\n{each.log_tail()}" for each in self._started)


def port_of(api: RunningProcess) -> int | None:
    """Return the port that uvicorn listens on, from its log, once it does."""
    _, found, rest = api.log.read_text(errors="replace").partition("running on http://127.0.0.1:")
    return int(rest.split()[0]) if found else None


def alive(pid: int) -> bool:
    """Return whether a process runs. A zombie does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"
