"""A project in a folder of its own, and the processes that are started in it."""

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

PATIENCE = 30.0
"""Seconds after which a test stops waiting."""

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What tells a terminal to use a colour or to move its cursor."""

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
        self._started: list[Started] = []
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

    def start(self, *arguments: str) -> "Started":
        """Start the command `sidelane` as a process."""
        started = Started(arguments, self.folder, self.folder / f"process-{len(self._started)}.log")
        self._started.append(started)
        return started

    def terminal(self, *arguments: str, columns: int = 120) -> "OnTerminal":
        """Start the command `sidelane` as a process on a terminal of its own."""
        started = OnTerminal(arguments, self.folder, self.folder / f"process-{len(self._started)}.log", columns)
        self._started.append(started)
        return started

    def stop(self) -> None:
        """End what still runs."""
        for started in self._started:
            started.end()

    def report(self) -> str:
        """Give what the processes said."""
        return "\n".join(f"--- {' '.join(started.arguments)}\n{started.said}" for started in self._started)


class Started:
    """One `sidelane` process; what it says on stdout and stderr goes to a file."""

    def __init__(self, arguments: tuple[str, ...], folder: Path, log: Path) -> None:
        self.arguments = arguments
        self._log = log
        with log.open("wb") as output:
            self._process = self._start(folder, subprocess.DEVNULL, output.fileno())

    def _start(self, folder: Path, reads: int, writes: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "sidelane.cli", *self.arguments],
            cwd=folder,
            stdin=reads,
            stdout=writes,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def says(self, words: str, times: int = 1) -> None:
        """Wait until it has said some words so many times."""
        until(lambda: self.said.count(words) >= times, f"{words!r} in what {' '.join(self.arguments)} says")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def exit_code(self) -> int:
        """Wait for its end."""
        return self._process.wait(PATIENCE)

    def end(self) -> None:
        """End it and, being asked nicely first, what it has started."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


class OnTerminal(Started):
    """One `sidelane` process on a terminal, where somebody looks and types."""

    def __init__(self, arguments: tuple[str, ...], folder: Path, log: Path, columns: int) -> None:
        self.arguments = arguments
        self._log = log
        self._screen, ours = pty.openpty()
        termios.tcsetwinsize(ours, (24, columns))
        self._process = self._start(folder, ours, ours)
        os.close(ours)
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def types(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def exit_code(self) -> int:
        code = super().exit_code()
        self._reading.join()
        return code

    def end(self) -> None:
        super().end()
        self._reading.join()
        os.close(self._screen)

    def _read(self) -> None:
        """Keep what appears on the screen, without the codes for colours and the cursor."""
        with self._log.open("w", encoding="utf-8") as log:
            while True:
                try:
                    seen = os.read(self._screen, 65_536)
                except OSError:  # nobody writes there any more
                    return
                log.write(CODES.sub("", seen.decode(errors="replace")))
                log.flush()


def until(look: Callable[[], T], what: str) -> T:
    """Look until there is something to see, and give it."""
    end = time.monotonic() + PATIENCE
    while not (found := look()):
        if time.monotonic() > end:
            raise AssertionError(f"Waited {PATIENCE:g} s in vain for {what}.")
        time.sleep(0.02)
    return found


def gone(pid: int) -> bool:
    """Tell whether a process has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
