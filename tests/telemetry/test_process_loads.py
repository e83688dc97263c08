"""What processes note of themselves every ten minutes: workers and API processes, at their end too, and with their children."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from sidelane import Sidelane
from sidelane.client import load_recorder
from sidelane.client.load_recorder import LoadRecorder
from sidelane.model.process_load import PROCESS_LOADS, ProcessLoad, load_of
from sidelane.model.worker import API, WORKER, WorkerInfo
from sidelane.processes.own_usage import children_usage
from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store
from sidelane.worker.worker import run_in_background
from tests.system.waiting import until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_recorder, "SAMPLE_INTERVAL", 0.02)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite:///{tmp_path / 'jobs.db'}")
    yield opened
    await opened.close()


async def loads(store: Store) -> list[ProcessLoad]:
    return [load_of(entry.text) for entry in await store.read_journal(PROCESS_LOADS)][::-1]


INFO = WorkerInfo(
    id="chat-1@box:box:7:1a2b", name="chat-1@box", host="box", pid=7, queues={"chat": 20, "sidelane.files": 10}, slots=20,
    running=15, loop_lag=0.25,
)  # fmt: skip


async def test_worker_and_application_write_a_line_when_they_stop(store: Store, tmp_path: Path) -> None:
    lane = Sidelane(store=f"sqlite:///{tmp_path / 'jobs.db'}")

    @lane.task
    async def double(number: int) -> int:
        return 2 * number

    app = FastAPI(lifespan=lane.lifespan)
    async with app.router.lifespan_context(app), run_in_background(lane.worker()):
        await (await double.submit(4)).result()
        await asyncio.sleep(0.1)
    found = {each.kind: each for each in await loads(store)}
    assert found.keys() == {API, WORKER}
    assert (found[WORKER].jobs, found[WORKER].queues, found[WORKER].slots) == (1, ("default",), 100)
    assert found[API].memory > 1_000_000
    assert 0 < found[API].cpu <= found[API].max_cpu


async def test_line_has_means_and_maxima_of_its_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_recorder, "FIRST_INTERVAL", 0.1)
    finished = iter(range(1000))
    recorder = LoadRecorder(store, lambda: (INFO, next(finished)))
    running = asyncio.create_task(recorder.run())
    await until(lambda: loads(store), "the first line is written")
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    await asyncio.sleep(0.1)
    running.cancel()
    await asyncio.wait([running])
    first, last = await loads(store)
    assert (first.process, first.name, first.queues, first.slots, first.running) == (
        INFO.id,
        INFO.name,
        ("chat",),
        20,
        15,
    )
    assert first.seconds >= 0.1
    assert first.jobs >= 1
    assert first.loop_lag == 0.25
    assert last.max_cpu >= last.cpu > 0


async def test_store_that_is_away_loses_no_seconds(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_recorder, "FIRST_INTERVAL", 0.05)
    closed = await open_store(f"sqlite:///{tmp_path / 'jobs.db'}")
    await closed.close()
    recorder = LoadRecorder(closed, lambda: (INFO, 0))
    running = asyncio.create_task(recorder.run())
    await asyncio.sleep(0.2)
    assert not running.done()
    running.cancel()
    await asyncio.wait([running])
    assert await loads(store) == []


def test_children_count_while_they_run_and_when_they_have_ended() -> None:
    before, _ = children_usage()
    code = "x = bytes([1]) * 80_000_000\nfor _ in range(3_000_000): pass\nprint(1, flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        running, memory = children_usage()
        child.stdin.write(b"\n")
    ended, left = children_usage()
    assert memory - left > 60_000_000
    assert before < running <= ended


def test_line_of_another_release_is_read_by_what_is_known() -> None:
    text = ProcessLoad(process="a", name="a", seconds=600.0, queues=("chat",)).text()
    assert load_of(text.replace('"seconds"', '"later":1,"seconds"')) == load_of(text)
