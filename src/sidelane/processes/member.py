"""One process of a group, as its parent process sees it."""

import asyncio
import json
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sidelane.processes.exit_code import shell_status
from sidelane.processes.ready_check import ReadyCheck, copy_line, wait_ready
from sidelane.processes.usage import cpu_seconds, largest_memory, memory

MAX_LINE_SIZE = 1024 * 1024
"""Bytes of one line of output that a readiness check reads."""

MAX_REPORT_SIZE = 16 * 1024 * 1024
"""Bytes of one report, or of the metrics of a process."""

METRICS_TIMEOUT = 2.0
"""Seconds that a process has to answer with its metrics."""

LIVE_TIMEOUT = 15.0
"""Seconds without a report after which the event loop of a process counts as blocked."""

MIN_AGE = 10.0
"""Seconds that a process runs before its memory is compared with the limit. A limit that is too low replaces less often then."""

JITTER = 0.1
"""Share by which the limits of each process differ, so that the processes of a group are not all replaced at once."""


class Limits:
    """The jobs, the lifetime in seconds and the memory in bytes after which a process is replaced; None for no limit."""

    def __init__(self, *, max_jobs: int | None, max_lifetime: float | None, max_memory: int | None) -> None:
        factor = 1.0 - random.uniform(0.0, JITTER)
        self.max_jobs = None if max_jobs is None else max(1, round(max_jobs * factor))
        self.max_lifetime = None if max_lifetime is None else max_lifetime * factor
        self.max_memory = max_memory


class Member:
    """A running process of a group. It reports its state once a second, unless it is a program that is not ours."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, limits: Limits) -> None:
        self.name = name
        self.pid = process.pid
        self.started = time.time()
        self.is_replacement = False
        self.draining = False
        self.ready = asyncio.Event()  # it was ready at least once
        self.exited = asyncio.Event()
        self.report: Mapping[str, Any] = {}
        self.memory = 0
        self.cpu = 0.0  # fraction of a core
        self._largest = 0  # memory of the process or of one of its children, whichever uses more
        self._process = process
        self._limits = limits
        self._reports = True
        self._writer: asyncio.StreamWriter | None = None
        self._metrics: asyncio.Future[str] | None = None  # what scrapes wait for
        self.began = self._reported = time.monotonic()
        self._cpu_seconds, self._sampled = 0.0, self.began

    @property
    def age(self) -> float:
        """Seconds since the start of the process."""
        return time.monotonic() - self.began

    @property
    def live(self) -> bool:
        """Whether the event loop of the process turns, as far as is known."""
        return not self._reports or time.monotonic() - self._reported < LIVE_TIMEOUT or not self.ready.is_set()

    @property
    def is_ready(self) -> bool:
        """Whether the process can work now."""
        return self.ready.is_set() and not self.draining and self.live and bool(self.report.get("ready", True))

    @property
    def state(self) -> str:
        if self.draining:
            return "draining"
        if not self.ready.is_set():
            return "starting"
        return "ready" if self.is_ready else "not ready"

    @property
    def error(self) -> str | None:
        """Why the process cannot work, in a sentence."""
        if not self.live:
            return f"its event loop has been blocked for more than {LIVE_TIMEOUT:g} s"
        return self.report.get("error")

    def document(self) -> dict[str, Any]:
        """Return the process for the answers of the control socket and the health port."""
        return {
            "name": self.name, "pid": self.pid, "state": self.state, "started": self.started, "memory": self.memory,
            "cpu": round(self.cpu, 4), "running": self.report.get("running"), "finished": self.report.get("finished"),
            "error": self.error,
        }  # fmt: skip

    def sample(self) -> None:
        """Measure memory and CPU."""
        now, seconds = time.monotonic(), cpu_seconds(self.pid)
        self.memory = memory(self.pid)
        self._largest = largest_memory(self.pid) if self._limits.max_memory is not None else 0
        self.cpu = max(0.0, seconds - self._cpu_seconds) / max(0.001, now - self._sampled)
        self._cpu_seconds, self._sampled = seconds, now

    def exceeded_limit(self) -> str | None:
        """Return why the process should be replaced, or None."""
        limits, finished = self._limits, self.report.get("finished") or 0
        if self.report.get("restart"):
            return "operators want a new process"
        if limits.max_jobs is not None and finished >= limits.max_jobs:
            return f"it has run {finished} jobs"
        if limits.max_lifetime is not None and self.age >= limits.max_lifetime:
            return f"it has run for {self.age:.0f} s"
        if limits.max_memory is not None and self._largest >= limits.max_memory and self.age >= MIN_AGE:
            return f"it or a child process uses {self._largest / 1e6:.0f} MB"
        return None

    def signal(self, number: int) -> None:
        """Send a signal, if the process still runs."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def drain(self, timeout: float | None) -> None:
        """Let the process finish its work and exit. It is killed after `timeout` seconds."""
        if not self.draining:
            self.draining = True
            self.signal(signal.SIGTERM)
            if timeout is not None:
                asyncio.get_running_loop().call_later(timeout, self.kill)

    def kill(self) -> None:
        """Kill the process and everything in its session."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message to the process (see `ParentConnection`)."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def read_metrics(self) -> str:
        """Return the metrics that the process keeps, or "" if it does not answer in time. Concurrent calls share one answer."""
        answer = self._metrics
        if answer is None:
            answer = self._metrics = asyncio.get_running_loop().create_future()
            self.send({"metrics": True})
        try:
            return await asyncio.wait_for(asyncio.shield(answer), METRICS_TIMEOUT)
        except TimeoutError:
            if self._metrics is answer:
                self._metrics = None
            return ""

    async def wait(self, changed: Callable[[], None]) -> int:
        """Wait for the exit and return its status as shells do. `changed` is called with each report."""
        code = await self._process.wait()
        self.exited.set()
        changed()
        return shell_status(code)

    async def wait_ready(self, timeout: float) -> str | None:
        """Wait until the process is ready, and return None, or what happened instead."""
        events = [asyncio.create_task(event.wait()) for event in (self.ready, self.exited)]
        await asyncio.wait(events, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for event in events:
            event.cancel()
        if self.exited.is_set():
            return "exited before it was ready"
        if not self.ready.is_set():
            return f"was not ready within {timeout:g} s ({self.error or 'it does not say why'})"
        return None

    async def read_reports(self, parent_end: socket.socket, changed: Callable[[], None]) -> None:
        """Read the reports of the process until it ends."""
        reader, self._writer = await asyncio.open_connection(sock=parent_end, limit=MAX_REPORT_SIZE)
        with suppress(ConnectionError, ValueError):
            while line := await reader.readline():
                message = json.loads(line)
                if "metrics" in message:
                    self._answer_scrapes(message["metrics"])
                    continue
                was = self.state
                self.report, self._reported = message, time.monotonic()
                if self.report.get("ready"):
                    self.ready.set()
                if self.state != was:
                    changed()
        self._writer.close()

    def _answer_scrapes(self, text: str) -> None:
        if self._metrics is not None:
            self._metrics.set_result(text)
            self._metrics = None

    async def check_ready(self, check: ReadyCheck, changed: Callable[[], None]) -> None:
        """Wait until a program that does not report passes its readiness check. Copy its output, if the check reads it."""
        self._reports = False
        await wait_ready(check, self._process.stdout)
        if self._process.stdout is not None and self._process.stdout.at_eof():
            return
        self.ready.set()
        changed()
        while self._process.stdout is not None and await copy_line(self._process.stdout):
            pass


async def start_member(
    name: str, command: Sequence[str], *, limits: Limits, reports: bool, listener: int | None, reads_output: bool
) -> tuple[Member, socket.socket | None]:
    """Start a process in a separate session. Return it with the parent's end of its report socket, if it `reports`.

    The command gets `--name`, `--report` and `--parent`, if it reports, and `--file` with the descriptor of a listening socket.
    """
    parent_end, child_end = socket.socketpair() if reports else (None, None)
    files = [] if listener is None else [listener]
    arguments = [*command, *(part for file in files for part in ("--file", str(file)))]
    if child_end is not None:
        files.append(child_end.fileno())
        arguments += ["--name", name, "--report", str(child_end.fileno()), "--parent", str(os.getpid())]
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE if reads_output else None,
            stderr=asyncio.subprocess.STDOUT if reads_output else None, pass_fds=files, start_new_session=True,
            limit=MAX_LINE_SIZE,
        )  # fmt: skip
    except OSError:
        if parent_end is not None:
            parent_end.close()
        raise
    finally:
        if child_end is not None:
            child_end.close()
    return Member(name, process, limits), parent_end
