"""The autoscaler beside a real group and a real store: what it tells the group, and what it does while the store is away."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sidelane.admin.scaling import read_scalings
from sidelane.client.declarations import save_declarations
from sidelane.model.errors import StoreUnavailable
from sidelane.model.job import JobSpec
from sidelane.model.queue import Queue
from sidelane.model.worker import WorkerInfo
from sidelane.ops import autoscaler
from sidelane.ops.autoscaler import Autoscaler
from sidelane.ops.state import StateDirectory
from sidelane.sizing.scaling import Bounds
from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store
from tests.processes.running_group import RunningGroup
from tests.processes.test_group import options
from tests.processes.test_group_main import parent
from tests.system.waiting import until


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite:///{tmp_path / 'jobs.db'}")
    yield opened
    await opened.close()


@pytest.fixture
async def group(
    tmp_path_factory: pytest.TempPathFactory, store: Store, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RunningGroup]:
    """A group of one process with an autoscaler."""
    monkeypatch.setattr(autoscaler, "INTERVAL", 0.1)
    state = StateDirectory(tmp_path_factory.mktemp("s"))  # a short path, because it has sockets
    state.prepare(["g"])
    async with parent(state.run, group=options(processes=1)) as running:
        await running.ready()
        scaling = asyncio.create_task(Autoscaler(state, {"g": Bounds(1, 3)}, store).run())
        yield running
        scaling.cancel()
        await asyncio.wait([scaling])


async def report(group: RunningGroup, reason: str) -> dict[str, Any]:
    """Wait until the group has a report with this text in its reason, and return the state of the group."""
    found: dict[str, Any] = {}

    def has_reason() -> bool:
        found.update(group.status)
        return reason in (found["autoscale"] or {}).get("reason", "")

    await until(has_reason, f"a report about {reason!r}", within=30)
    return found


async def test_group_gets_what_its_workers_need_and_keeps_it_while_the_store_is_away(
    store: Store, group: RunningGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await report(group, "none of its processes is a live worker"))["target"] == 1
    (pid,) = group.pids
    worker = WorkerInfo(id="w", name="g-1", host=socket.gethostname(), pid=pid, queues={"chat": 2}, slots=2)
    await store.heartbeat(worker, [], lease=60.0)
    assert (await report(group, "no load"))["target"] == 1

    await save_declarations(store, [Queue("chat", target_wait=1)], {})
    await store.submit([JobSpec(id=str(number), task="answer", queue="chat") for number in range(4)])
    scaled = await report(group, "chat: 4 ready, to start within 1.0 s, need 4 slots")
    assert scaled["autoscale"]["wanted"] == 2
    await until(lambda: group.status["target"] == 2, "the second process", within=30)
    await group.ready()
    (change,) = await read_scalings(store, 10)
    assert (change.group, change.before, change.after, change.reason) == ("g", 1, 2, scaled["autoscale"]["reason"])

    async def fail() -> None:
        raise StoreUnavailable("The store is away.")

    monkeypatch.setattr(store, "stats", fail)
    away = await report(group, "the store does not answer, so the number stays")
    assert (away["target"], away["autoscale"]["wanted"]) == (2, None)


async def test_pinned_group_is_only_reported_about(store: Store, group: RunningGroup) -> None:
    await asyncio.to_thread(group.call, command="scale", processes=2, pinned=True)
    (pid, _) = group.pids
    worker = WorkerInfo(id="w", name="g-1", host=socket.gethostname(), pid=pid, queues={"chat": 1}, slots=1)
    await store.heartbeat(worker, [], lease=60.0)
    await save_declarations(store, [Queue("chat", target_wait=1)], {})
    await store.submit([JobSpec(id=str(number), task="answer", queue="chat") for number in range(20)])
    pinned = await report(group, "at most 3 processes")
    assert (pinned["target"], pinned["autoscale"]["wanted"], pinned["autoscale"]["capped_by"]) == (2, 3, "maximum")
    assert await read_scalings(store, 10) == []
