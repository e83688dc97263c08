"""An API process that accepts uploads, with its memory and the latency of its other endpoints."""

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, UploadFile

from benchmarks.server import free_port
from sidelane import File, Sidelane

lane = Sidelane()
app = FastAPI(lifespan=lane.lifespan)

MEGABYTE = 1 << 20
PAUSE = 0.02
"""Seconds between two requests to the light endpoint."""


@app.post("/upload")
async def upload(file: UploadFile) -> File:
    return await lane.files.save(file, max_bytes=1 << 32, types=("audio/*",))


@app.get("/light")
async def light() -> str:
    return "ok"


class Uploading:
    """A running API."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self._process = process
        self._port = port

    def memory(self, what: str = "VmRSS") -> float:
        """Return its memory in megabytes: current (`VmRSS`) or peak (`VmHWM`)."""
        status = Path(f"/proc/{self._process.pid}/status").read_text("utf-8")
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(what))

    def send(self, megabytes: int) -> dict[str, Any]:
        """Upload a form with one file of `megabytes`, one megabyte at a time, and return the response."""
        head = (
            b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
        )
        tail = b"\r\n--cut--\r\n"
        with closing(http.client.HTTPConnection("127.0.0.1", self._port)) as connection:
            connection.putrequest("POST", "/upload")
            connection.putheader("Content-Type", "multipart/form-data; boundary=cut")
            connection.putheader("Content-Length", str(len(head) + megabytes * MEGABYTE + len(tail)))
            connection.endheaders(head)
            first, other = b"RIFF\x00\x00\x00\x00WAVE".ljust(MEGABYTE, b"\x00"), os.urandom(MEGABYTE)
            for number in range(megabytes):
                connection.send(other if number else first)
            connection.send(tail)
            answer = connection.getresponse()
            body = answer.read()
        assert answer.status == 200, body
        document: dict[str, Any] = json.loads(body)
        return document

    def growth(self, megabytes: int) -> tuple[float, float, list[float]]:
        """Upload a file; return the peak growth of memory (MB), the duration (s), and the latencies of the light endpoint.

        Memory is compared with that after a small upload.
        """
        self.send(1)
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5", "utf-8")  # resets the peak
        before, began = self.memory(), time.perf_counter()
        with self.light_latencies() as took:
            document = self.send(megabytes)
        assert document["bytes"] == megabytes * MEGABYTE
        return self.memory("VmHWM") - before, time.perf_counter() - began, took

    def light(self) -> float:
        """Request the light endpoint and return the seconds it took."""
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        connection.request("GET", "/light")
        connection.getresponse().read()
        connection.close()
        return time.perf_counter() - began

    @contextmanager
    def light_latencies(self) -> Iterator[list[float]]:
        """Request the light endpoint repeatedly inside the block, and yield the list of latencies."""
        took: list[float] = []
        over = threading.Event()

        def request_repeatedly() -> None:
            while not over.wait(PAUSE):
                took.append(self.light())

        requests = threading.Thread(target=request_repeatedly)
        requests.start()
        try:
            yield took
        finally:
            over.set()
            requests.join()


@contextmanager
def uploading(folder: Path, files: str, environment: Mapping[str, str] = {}) -> Iterator[Uploading]:
    """Run the API inside the block, with its store in a folder and its files in `files`."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "benchmarks.uploading:app",
        "--port",
        str(port),
        "--log-level",
        "warning",
    ]
    process = subprocess.Popen(
        command,
        env={
            **os.environ, **environment, "SIDELANE_STORE": f"sqlite:///{folder / 'jobs.db'}", "SIDELANE_FILE_STORAGE": files,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        },
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    try:
        running = Uploading(process, port)
        until = time.monotonic() + 60
        while True:
            try:
                running.light()
            except OSError:
                assert time.monotonic() < until, "the API did not start"
                assert process.poll() is None, "the API ended"
                time.sleep(0.05)
            else:
                break
        yield running
    finally:
        process.terminate()
        process.wait(20)
