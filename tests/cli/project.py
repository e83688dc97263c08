"""A project in a temporary folder, and the `sidelane` processes that run in it."""

import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

TIMEOUT = 30.0
"""Seconds after which a test fails if it still waits."""

ESCAPE_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""Terminal codes for colours and cursor movement."""

HOME, LEAVE_SCREEN = b"\x1b[H", b"\x1b[?1049l"
"""Terminal codes that move the cursor to the top left corner, and that return to what was there before a screen."""

LANE = """
from sidelane import Queue, Sidelane

lane = Sidelane(tasks=["shop.tasks"], queues=[Queue("chat"), Queue("gpu", worker_concurrency=1)])
"""

TASKS = """
import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

from shop.lane import lane


@lane.task(queue="chat")
async def answer(question: str) -> AsyncIterator[str]:
    for word in ("Because ", "it ", "is."):
        yield word


@lane.task(queue="chat")
async def hold(gate: str) -> str:
    while not Path(gate).exists():
        await asyncio.sleep(0.01)
    return "through"


@lane.task
def hang(seconds: float) -> None:
    time.sleep(seconds)
"""

MAIN = """
from fastapi import FastAPI

from shop.lane import lane
from shop.tasks import answer

app = FastAPI(lifespan=lane.lifespan)


@app.get("/")
async def edition() -> int:
    return 1
"""

PYPROJECT = """
[tool.sidelane]
lease_duration = 2.0
"""


class Project:
    """A folder with a lane in `shop.lane`, tasks, and a FastAPI application in `main`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = f"sqlite:///{folder / 'sidelane.db'}"
        self._processes: list[CliProcess] = []
        for name, text in {
            "shop/__init__.py": "",
            "shop/lane.py": LANE,
            "shop/tasks.py": TASKS,
            "main.py": MAIN,
            "pyproject.toml": PYPROJECT,
        }.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def start(self, *arguments: str) -> "CliProcess":
        """Start the command `sidelane` as a process."""
        process = CliProcess(arguments, self.folder, self.folder / f"process-{len(self._processes)}.log")
        self._processes.append(process)
        return process

    def start_on_terminal(self, *arguments: str, columns: int = 120, rows: int = 24) -> "TerminalProcess":
        """Start the command `sidelane` as a process on a new terminal."""
        log = self.folder / f"process-{len(self._processes)}.log"
        process = TerminalProcess(arguments, self.folder, log, (rows, columns))
        self._processes.append(process)
        return process

    def stop(self) -> None:
        """Stop all processes."""
        for process in self._processes:
            process.end()

    def report(self) -> str:
        """Return the output of the processes."""
        return "\n".join(f"--- {' '.join(process.arguments)}\n{process.output}" for process in self._processes)


class CliProcess:
    """One `sidelane` process. Its output goes to a file."""

    def __init__(self, arguments: tuple[str, ...], folder: Path, log: Path) -> None:
        self.arguments = arguments
        self._log = log
        with log.open("wb") as output:
            self._process = self._start(folder, subprocess.DEVNULL, output.fileno())

    def _start(self, folder: Path, stdin: int, stdout: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "sidelane.cli", *self.arguments],
            cwd=folder,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        """What the process has printed on stdout and stderr."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until the process has printed a text, `times` times."""
        wait_until(lambda: self.output.count(text) >= times, f"{text!r} in the output of {' '.join(self.arguments)}")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def exit_code(self) -> int:
        """Wait until the process exits, and return its exit code."""
        return self._process.wait(TIMEOUT)

    def end(self) -> None:
        """Stop the process and the processes that it has started."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


class TerminalProcess(CliProcess):
    """One `sidelane` process on a terminal."""

    def __init__(self, arguments: tuple[str, ...], folder: Path, log: Path, size: tuple[int, int]) -> None:
        self.arguments = arguments
        self._log = log
        self.raw = b""
        """Everything that was written to the terminal."""
        self._terminal, child_end = pty.openpty()
        termios.tcsetwinsize(child_end, size)
        self._process = self._start(folder, child_end, child_end)
        os.close(child_end)
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        termios.tcsetwinsize(self._terminal, (rows, columns))
        self.signal(signal.SIGWINCH)  # the kernel sends it only to the processes of a session

    @property
    def screen(self) -> list[str]:
        """The lines of the newest picture of a program that draws each one from the top left corner."""
        picture = self.raw.rpartition(HOME)[2].partition(LEAVE_SCREEN)[0]
        return ESCAPE_CODES.sub("", picture.decode(errors="replace")).split("\r\n")

    def wait_for_screen(self, condition: Callable[[list[str]], bool], what: str) -> list[str]:
        """Wait until the newest picture meets a condition, and return its lines."""
        wait_until(lambda: condition(self.screen), f"{what} on the screen")
        return self.screen

    def exit_code(self) -> int:
        code = super().exit_code()
        self._reading.join()
        return code

    def end(self) -> None:
        super().end()
        self._reading.join()
        os.close(self._terminal)

    def _read(self) -> None:
        """Write what appears on the terminal to the log, without escape codes."""
        with self._log.open("w", encoding="utf-8") as log:
            while True:
                try:
                    data = os.read(self._terminal, 65_536)
                except OSError:  # the process has closed it
                    return
                self.raw += data
                log.write(ESCAPE_CODES.sub("", data.decode(errors="replace")))
                log.flush()


def wait_until(condition: Callable[[], T], what: str) -> T:
    """Call `condition` until its value is true, and return it."""
    end = time.monotonic() + TIMEOUT
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"Timeout after {TIMEOUT:g} s: {what}.")
        time.sleep(0.02)
    return found


def has_exited(pid: int) -> bool:
    """Return whether a process has exited."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
