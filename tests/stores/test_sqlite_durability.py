"""Durability: a sync precedes each acknowledgement, and concurrent calls share one commit (rule 20)."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path

import apsw
import pytest
from typing_extensions import override

from sidelane.model.event import NewEvent
from sidelane.model.job import JobSpec
from sidelane.model.outcome import AttemptResult, EventAppend, Released, Succeeded
from sidelane.model.shared_state import JournalAppend, ValueChange
from sidelane.model.worker import Claimed, ClaimRequest, WorkerInfo
from sidelane.stores.sqlite.store import SqliteStore


class Tracer(apsw.VFS):
    """A file system layer that records every write and sync of the write-ahead log."""

    def __init__(self) -> None:
        super().__init__("tracer", "unix", makedefault=True)
        self._lock = threading.Lock()
        self._steps: list[str] = []

    @override
    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return TracedFile(self, name, flags)

    def record(self, step: str) -> None:
        with self._lock:
            self._steps.append(step)

    def steps(self) -> list[str]:
        """Return the steps since the last call."""
        with self._lock:
            steps, self._steps = self._steps, []
        return steps


class TracedFile(apsw.VFSFile):
    """One open file."""

    def __init__(self, tracer: Tracer, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        filename = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._is_log = (filename or "").endswith("-wal")
        self._tracer = tracer
        super().__init__("unix", name, flags)

    @override
    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        if self._is_log:
            self._tracer.record("write")

    @override
    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        if self._is_log:
            self._tracer.record("sync")


@pytest.fixture
def tracer() -> Iterator[Tracer]:
    tracer = Tracer()
    yield tracer
    apsw.set_default_vfs("unix")
    tracer.unregister()


@pytest.fixture
async def store(tracer: Tracer, tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(str(tmp_path / "jobs.db"), time.time)
    tracer.steps()
    yield store
    await store.close()


async def start(store: SqliteStore, *ids: str) -> tuple[Claimed, ...]:
    await store.submit([JobSpec(id=job_id, task="t") for job_id in ids])
    return (await store.claim(ClaimRequest(request=f"r{ids}", worker="w", ids=ids, limit=len(ids)))).jobs


async def synced(tracer: Tracer, call: Awaitable[object]) -> bool:
    """Make a call that writes, and return whether everything was synced when it returned."""
    tracer.steps()
    await call
    steps = tracer.steps()
    assert "write" in steps
    return steps[-1] == "sync"


async def test_a_sync_precedes_every_acknowledgement_that_must_survive_a_power_failure(
    store: SqliteStore, tracer: Tracer
) -> None:
    claim = ClaimRequest(request="r", worker="w", queues={"default": 1})
    for number in range(20):
        assert await synced(tracer, store.submit([JobSpec(id=f"s{number}", task="t")]))
    assert await synced(tracer, store.claim(claim))
    a, b = await start(store, "a", "b")
    assert await synced(tracer, store.finish([AttemptResult(lease=a.lease, outcome=Succeeded("1"))]))
    assert await synced(tracer, store.finish([AttemptResult(lease=b.lease, outcome=Released(60))]))
    assert await synced(tracer, store.cancel(["b"]))
    assert await synced(tracer, store.requeue(["a"]))
    assert await synced(tracer, store.pause("default"))
    assert await synced(tracer, store.get_or_set("name", "value"))
    assert await synced(tracer, store.set_value(ValueChange(name="v", text="1", replaces=None)))
    assert await synced(tracer, store.append_entries(JournalAppend(journal="j", texts=["1"], cap=9)))


async def test_events_and_heartbeats_do_not_wait_for_a_sync(store: SqliteStore, tracer: Tracer) -> None:
    (a,) = await start(store, "a")
    append = EventAppend(lease=a.lease, ordinal=1, entries=(NewEvent("token", '"x"'),))
    assert not await synced(tracer, store.append([append]))
    assert not await synced(tracer, store.heartbeat(WorkerInfo(id="w", name="w"), [a.lease], lease=10))


async def test_a_sweep_of_an_idle_store_does_not_sync(store: SqliteStore, tracer: Tracer) -> None:
    assert not await synced(tracer, store.sweep(lease=10))


async def test_a_durable_commit_syncs_earlier_events_too(store: SqliteStore, tracer: Tracer) -> None:
    (a,) = await start(store, "a")
    await store.append([EventAppend(lease=a.lease, ordinal=1, entries=(NewEvent("token", '"x"'),))])
    assert await synced(tracer, store.submit([JobSpec(id="b", task="t")]))


async def test_a_group_with_one_durable_call_is_synced(store: SqliteStore, tracer: Tracer) -> None:
    (a,) = await start(store, "a")
    appends = [EventAppend(lease=a.lease, ordinal=n, entries=(NewEvent("token", '"x"'),)) for n in range(1, 30)]
    for index in range(3):
        calls: list[Awaitable[object]] = [store.append([each]) for each in appends]
        calls.insert(index * 14, store.submit([JobSpec(id=f"b{index}", task="t")]))
        assert await synced(tracer, asyncio.gather(*calls))


async def test_concurrent_calls_share_a_few_commits(store: SqliteStore, tracer: Tracer) -> None:
    tracer.steps()
    await asyncio.gather(*(store.submit([JobSpec(id=f"j{n}", task="t")]) for n in range(150)))
    assert tracer.steps().count("sync") <= 5


async def test_a_claim_without_jobs_writes_nothing(store: SqliteStore, tracer: Tracer) -> None:
    await store.claim(ClaimRequest(request="r", worker="w", queues={"default": 1}))
    assert tracer.steps() == []
