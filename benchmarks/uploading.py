"""An API that takes uploads, as a process of its own, and what its memory and its other answers do meanwhile."""

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
"""Seconds between two requests for something light."""


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
        """Give its memory in megabytes: now, or the most it ever had (`VmHWM`)."""
        status = Path(f"/proc/{self._process.pid}/status").read_text("utf-8")
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(what))

    def send(self, megabytes: int) -> dict[str, Any]:
        """Upload a form with one file of so many megabytes, a megabyte at a time, and give the answer."""
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
            said = answer.read()
        assert answer.status == 200, said
        document: dict[str, Any] = json.loads(said)
        return document

    def growth(self, megabytes: int) -> tuple[float, float, list[float]]:
        """Upload a file; give by how many megabytes its memory grew at most, over what it has once it has taken a small one.

        With the seconds that took, and those that something light took meanwhile.
        """
        self.send(1)
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5", "utf-8")  # the most is counted from here
        before, began = self.memory(), time.perf_counter()
        with self.asked_meanwhile() as took:
            document = self.send(megabytes)
        assert document["bytes"] == megabytes * MEGABYTE
        return self.memory("VmHWM") - before, time.perf_counter() - began, took

    def light(self) -> float:
        """Ask for something light, and tell how long that took, in seconds."""
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        connection.request("GET", "/light")
        connection.getresponse().read()
        connection.close()
        return time.perf_counter() - began

    @contextmanager
    def asked_meanwhile(self) -> Iterator[list[float]]:
        """Ask for something light again and again, and collect how long each took."""
        took: list[float] = []
        over = threading.Event()

        def ask() -> None:
            while not over.wait(PAUSE):
                took.append(self.light())

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            yield took
        finally:
            over.set()
            asking.join()


@contextmanager
def uploading(folder: Path, files: str, environment: Mapping[str, str] = {}) -> Iterator[Uploading]:
    """Run the API, with its store in a folder and its files in a place, until the block is left."""
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
