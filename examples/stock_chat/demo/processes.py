"""Processes of the demo: each writes its own log file, and all are stopped at the end."""

import asyncio
import os
import signal
import socket
import sys
import time
from pathlib import Path

from examples.stock_chat.demo.failure import DemoFailed

START_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Processes:
    """Runs Python modules in processes of this environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: dict[str, str] = {
            name: value for name, value in os.environ.items() if not _is_demo_setting(name)
        }
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
                start_new_session=True,  # Ctrl-C goes to the demo only, which stops its processes in order
            )
        self._running[name] = process
        return process

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    async def wait_for_log(self, name: str, text: str) -> str:
        """Wait until a process has logged a text, and return the rest of that line."""
        end = time.monotonic() + START_TIMEOUT
        while time.monotonic() < end and self._running[name].returncode is None:
            for line in self.log(name).read_text(errors="replace").splitlines():
                if text in line:
                    return line.partition(text)[2].strip()
            await asyncio.sleep(0.05)
        raise DemoFailed(f"{name} did not start. Its log ends with:\n{self.log_tail(name)}")

    def log_tail(self, name: str, lines: int = 15) -> str:
        return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-lines:])

    async def kill(self, name: str) -> None:
        """Kill a process without warning (SIGKILL), as a crash does."""
        process = self._running.pop(name)
        process.send_signal(signal.SIGKILL)
        await process.wait()

    async def stop(self) -> None:
        """Stop all processes, the last started first."""
        for process in reversed(self._running.values()):
            if process.returncode is None:
                process.terminate()
        for process in self._running.values():
            try:
                await asyncio.wait_for(process.wait(), STOP_TIMEOUT)
            except TimeoutError:
                process.kill()
                await process.wait()


def _is_demo_setting(name: str) -> bool:
    return name.startswith(
        ("SIDELANE_", "STOCK_CHAT_")
    )  # the demo uses its own store, so settings of the caller are dropped
