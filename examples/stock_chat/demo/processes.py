"""The processes of the demo: each with a log of its own in one folder, all gone when the demo ends."""

import asyncio
import os
import signal
import socket
import sys
import time
from pathlib import Path

from examples.stock_chat.demo.failure import DemoFailed

STARTS_WITHIN = 60.0
STOPS_WITHIN = 10.0


def free_port() -> int:
    """Find a port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Processes:
    """Python processes running modules of this environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: dict[str, str] = {name: value for name, value in os.environ.items() if not _ours(name)}
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, name: str, *module: str, **environment: str) -> asyncio.subprocess.Process:
        """Start `python -m <module> ...` under a name."""
        with self.log(name).open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *module,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self.environment, **environment},
                start_new_session=True,  # Ctrl-C is for the demo, which stops its processes in order
            )
        self._running[name] = process
        return process

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    async def said(self, name: str, words: str) -> str:
        """Wait until a process has logged some words, and give the rest of that line."""
        end = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < end and self._running[name].returncode is None:
            for line in self.log(name).read_text(errors="replace").splitlines():
                if words in line:
                    return line.partition(words)[2].strip()
            await asyncio.sleep(0.05)
        raise DemoFailed(f"{name} did not get ready. It said:\n{self.last_words(name)}")

    def last_words(self, name: str, lines: int = 15) -> str:
        return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-lines:])

    async def kill(self, name: str) -> None:
        """End a process as a crash does: no warning, no farewell."""
        process = self._running.pop(name)
        process.send_signal(signal.SIGKILL)
        await process.wait()

    async def stop(self) -> None:
        """Stop all of them, the last started first."""
        for process in reversed(self._running.values()):
            if process.returncode is None:
                process.terminate()
        for process in self._running.values():
            try:
                await asyncio.wait_for(process.wait(), STOPS_WITHIN)
            except TimeoutError:
                process.kill()
                await process.wait()


def _ours(name: str) -> bool:
    return name.startswith(("SIDELANE_", "STOCK_CHAT_"))  # the demo has its own store, whatever is set outside
