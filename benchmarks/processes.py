"""Processes of a benchmark: one API and one worker on a new store."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx2

HERE = Path(__file__).parent


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def process(*arguments: str, store: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python module on a store inside the block."""
    environment = {
        **os.environ,
        "SIDELANE_STORE": f"sqlite:///{store}",
        "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
        "SIDELANE_CONCURRENCY": "1000",
    }
    running = subprocess.Popen([sys.executable, "-m", *arguments], env=environment, cwd=HERE)
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextmanager
def service(store: Path) -> Iterator[str]:
    """Run one API and one worker process, and yield the API's URL."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    api = ("uvicorn", "paced:app", "--port", str(port), "--log-level", "warning", "--timeout-graceful-shutdown", "1")
    with process(*api, store=store):
        _await_answer(f"{base}/light")
        with worker_process(store):
            first = httpx2.post(f"{base}/chat?tokens=1&per_second=100", headers={"Prefer": "wait=30"}, timeout=40)
            first.raise_for_status()  # the worker is up
            yield base


def worker_process(store: Path) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Run one worker process."""
    return process("sidelane.cli", "worker", "paced:lane", "--log-level", "WARNING", store=store)


def _await_answer(url: str) -> None:
    for _ in range(200):
        try:
            httpx2.get(url)
        except httpx2.TransportError:
            time.sleep(0.05)
        else:
            return
