"""README's first example: its file runs, its three curls answer as printed, and a killed worker's job is taken over."""

import asyncio
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from tests.contract.servers import free_port

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
SIDELANE = [sys.executable, "-m", "sidelane.cli"]

MIN_LIFETIME = 4.0
"""Seconds; `sidelane dev` does not restart a process that ended sooner, since its code is probably wrong."""

pytestmark = pytest.mark.system


def curls(port: int) -> list[httpx2.Request]:
    """Return the requests of README's curl lines, sent to this port."""
    requests = []
    for line in re.findall(r"^\$ (curl .*)$", README, re.MULTILINE):
        words = shlex.split(line)
        (url,) = [word for word in words if word.startswith("localhost:8000")]
        headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
        address = f"http://{url.replace('localhost:8000', f'127.0.0.1:{port}')}"
        requests.append(httpx2.Request(words[words.index("-X") + 1], address, headers=headers))
    return requests


@asynccontextmanager
async def dev(folder: Path, port: int, environment: dict[str, str]) -> AsyncIterator[None]:
    """Run README's `sidelane dev` on this port until the block ends."""
    (command,) = re.findall(r"^\$ sidelane (dev .*)$", README, re.MULTILINE)
    with (folder / "dev.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *SIDELANE, *command.split(), "--port", str(port), cwd=folder, env=environment, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        await process.wait()
        sys.stderr.write((folder / "dev.log").read_text("utf-8"))  # shown if the test fails


async def worker_process(folder: Path, environment: dict[str, str]) -> int:
    """Return the process id that `sidelane workers` lists, once it lists one."""
    while True:
        listing = await asyncio.create_subprocess_exec(
            *SIDELANE, "workers", "--json", cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        output, _ = await listing.communicate()
        if listing.returncode == 0 and (workers := json.loads(output)):
            return int(workers[0]["pid"])
        await asyncio.sleep(0.2)


async def until_up(client: httpx2.AsyncClient, port: int) -> None:
    while True:
        try:
            await client.get(f"http://127.0.0.1:{port}/openapi.json")
        except httpx2.TransportError:
            await asyncio.sleep(0.1)
        else:
            return


@pytest.mark.row("R9")
@pytest.mark.long
async def test_readme_example_answers_as_printed_and_survives_a_killed_worker(tmp_path: Path) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(source.splitlines()) <= 26
    (tmp_path / "hello.py").write_text(source.replace("sleep(0.5)", "sleep(0.05)"), "utf-8")
    environment = {**os.environ, "SIDELANE_LEASE_DURATION": "1"}
    port = free_port()
    accepted, waiting, streaming = curls(port)
    async with httpx2.AsyncClient(timeout=60) as client, dev(tmp_path, port, environment):
        await until_up(client, port)
        worker = await worker_process(tmp_path, environment)

        first = await client.send(accepted)
        assert first.status_code == 202
        assert first.json()["state"] == "queued"
        assert first.json()["links"]["self"] == f"/jobs/{first.json()['id']}"
        second = await client.send(waiting)
        assert (second.status_code, second.text) == (200, '"word1 word2 word3 "')
        assert second.text in README

        await asyncio.sleep(MIN_LIFETIME)
        names, last = [], ""
        third = await client.send(streaming, stream=True)
        async for line in third.aiter_lines():
            if line.startswith("event: "):
                names.append(line.removeprefix("event: "))
                if names == ["job", "token", "token", "token"]:
                    os.kill(worker, signal.SIGKILL)
            elif line.startswith("data: "):
                last = line.removeprefix("data: ")
        await third.aclose()
    assert names[0] == "job"
    assert names.count("attempt") == 1
    assert names[-1] == "end"
    assert json.loads(last)["result"] == "".join(f"word{number} " for number in range(1, 21))
