"""Several processes that write to one file: each call is fast, and no process starves (rule 23)."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from sidelane.stores.factory import open_store

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "sqlite_store.py"


async def start_writer(url: str, seconds: int) -> Process:
    """Start a process that reads a line, then submits as fast as it can and prints the duration of each call."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, BENCHMARK, "--part", "write", url, str(seconds), stdin=PIPE, stdout=PIPE
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"ready\n"
    return child


@pytest.mark.long
async def test_four_processes_writing_at_full_speed_share_the_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    children = await asyncio.gather(*(start_writer(url, 3) for _ in range(4)))
    reports = [json.loads(out) for out, _ in await asyncio.gather(*(child.communicate(b"go\n") for child in children))]
    waits = [each["waits"] for each in reports]
    assert max(map(max, waits)) < 2.0, "we promise half a second, but this machine may be busy"
    assert min(map(len, waits)) > max(map(len, waits)) / 4


async def test_six_processes_can_create_the_same_store_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    children = await asyncio.gather(*(start_writer(url, 0) for _ in range(6)))
    for child in children:
        await child.communicate(b"go\n")
    assert [child.returncode for child in children] == [0] * 6
    store = await open_store(url)
    assert await store.stats() == []
    await store.close()
