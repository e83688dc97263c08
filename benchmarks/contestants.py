"""Contestants: one script each, in its own environment, so that their dependencies do not conflict."""

import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.server import Server, running_server

RECORD = struct.Struct("<iiq")
"""The start or end of a job, as `peers/contest.py` writes it."""

PEERS = Path(__file__).parent / "peers"
UV = Path(sys.executable).parent / "uv"


class ContestantFailed(Exception):
    """A contestant failed, or gave wrong results."""


@dataclass(frozen=True)
class Contestant:
    """One queue that is measured."""

    name: str
    script: str
    store: str  # redis or sqlite
    asyncio: bool = True
    slots: int = 100  # concurrency of its worker process
    drain_slots: int = 0  # the same for the no-op drain, if another concurrency is faster there
    streams: bool = False  # takes part in workloads that stream tokens
    queues: bool = True  # takes part in all other workloads
    share: float = 1.0  # of the jobs, for contestants that would take minutes

    @property
    def ours(self) -> bool:
        return self.script.startswith("sidelane_")

    @cached_property
    def python(self) -> str:
        """Create its environment and return its Python interpreter. Ours run in the project's environment."""
        if self.ours:
            return sys.executable
        script = str(PEERS / self.script)
        environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
        subprocess.run([UV, "sync", "--quiet", "--script", script], check=True, env=environment)
        found = subprocess.run(
            [UV, "python", "find", "--script", script], check=True, env=environment, capture_output=True, text=True
        )
        return found.stdout.strip()

    @cached_property
    def about(self) -> dict[str, Any]:
        """Its versions and configuration."""
        with tempfile.TemporaryDirectory() as name:
            trial = Trial(self, Path(name), store_url(self, Path(name)))
            trial.ask("about")
            found: dict[str, Any] = vars(self)["about"]
            return found


CONTESTANTS = (
    Contestant("sidelane", "sidelane_peer.py", "redis", drain_slots=200, streams=True),
    Contestant("arq", "arq_peer.py", "redis", drain_slots=400),
    Contestant("saq", "saq_peer.py", "redis", drain_slots=64),
    Contestant("taskiq", "taskiq_peer.py", "redis", drain_slots=200),
    Contestant("streaq", "streaq_peer.py", "redis", drain_slots=32),
    Contestant("docket", "docket_peer.py", "redis", drain_slots=200),
    Contestant("dramatiq", "dramatiq_peer.py", "redis", asyncio=False, drain_slots=32),
    Contestant("celery", "celery_peer.py", "redis", asyncio=False, drain_slots=1),
    Contestant("rq", "rq_peer.py", "redis", asyncio=False, slots=16, drain_slots=1),
    Contestant("by-hand", "by_hand.py", "redis", streams=True, queues=False),
    Contestant("sidelane-sqlite", "sidelane_peer.py", "sqlite", drain_slots=200, streams=True),
    Contestant("huey", "huey_peer.py", "sqlite", asyncio=False, drain_slots=32),
    Contestant("dbos", "dbos_peer.py", "sqlite", drain_slots=32, share=0.2),
)


class Trial:
    """One contestant with a fresh store, for one measurement."""

    def __init__(self, contestant: Contestant, folder: Path, url: str, server: Server | None = None) -> None:
        self.contestant = contestant
        self.folder = folder
        self.server = server
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SIDELANE_")},
            "BENCH_URL": url, "BENCH_FOLDER": str(folder), "PYTHONPATH": f"{PEERS}{os.pathsep}{PEERS.parent}",
            "SIDELANE_STORE": url,
        }  # fmt: skip

    def ask(self, verb: str, *arguments: object, timeout: float = 300) -> dict[str, Any]:
        """Run a command of its script in a new process and return its answer."""
        command = [self.contestant.python, self.contestant.script, verb, *map(str, arguments)]
        try:
            done = subprocess.run(
                command, cwd=PEERS, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise ContestantFailed(f"{verb} took more than {timeout:.0f} s") from None
        answer = _answer_of(done)
        vars(self.contestant)["about"] = answer.pop("about")  # it is part of every answer
        return answer

    def worker(self, slots: int) -> AbstractContextManager["subprocess.Popen[bytes]"]:
        """Run its worker, with its child processes, inside the block."""
        return self.running(self.contestant.script, "worker", str(slots), slots=slots)

    @contextmanager
    def running(self, *arguments: str, slots: int = 100) -> Iterator["subprocess.Popen[bytes]"]:
        """Run its Python interpreter with arguments inside the block."""
        environment = {**self.environment, "BENCH_SLOTS": str(slots)}
        with (self.folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [self.contestant.python, *arguments], cwd=PEERS, env=environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        try:
            yield process
        finally:
            kill_group(process)  # unfinished jobs are deleted with the store

    def marks(self) -> list[tuple[int, int, int]]:
        """Return the records of starts and ends of its jobs: number, kind, nanoseconds."""
        path = self.folder / "marks"
        return list(RECORD.iter_unpack(path.read_bytes())) if path.exists() else []

    def count(self) -> int:
        """Count the records."""
        path = self.folder / "marks"
        return path.stat().st_size // RECORD.size if path.exists() else 0

    def log_tail(self) -> str:
        """Return the end of its worker's log."""
        path = self.folder / "worker.log"
        return path.read_text("utf-8", "replace")[-600:] if path.exists() else ""


def store_url(contestant: Contestant, folder: Path, server: Server | None = None) -> str:
    """Return the address of its store, in its own format."""
    if contestant.store == "redis":
        return server.url if server else "redis://127.0.0.1:6379/0"
    return f"sqlite:///{folder / 'jobs.db'}" if contestant.ours else str(folder / "jobs.db")


@contextmanager
def new_trial(contestant: Contestant) -> Iterator[Trial]:
    """Create a folder with a fresh store for a contestant."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if contestant.store == "sqlite":
            yield Trial(contestant, folder, store_url(contestant, folder))
            return
        (folder / "server").mkdir()
        with running_server(folder / "server") as server:
            yield Trial(contestant, folder, store_url(contestant, folder, server), server)


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill a worker and all its child processes, as the end of a container does."""
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        return
    process.wait()


def _answer_of(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise ContestantFailed(f"{done.args[1:]}: {done.stderr[-600:] or done.stdout[-600:]}") from None
    return answer
