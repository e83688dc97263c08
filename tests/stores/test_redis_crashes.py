"""Machine crashes: the server returns without its last acknowledged writes, and readers and workers recover."""

import json
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from sidelane.client.event_stream import stream_events
from sidelane.conformance.stores import invariants
from sidelane.conformance.stores.actions import (
    LEASE,
    append_tokens,
    claim,
    claim_job,
    event_texts,
    finish,
    pass_time,
    read_log,
    record,
    specs,
    start,
    submit,
    tokens,
)
from sidelane.model.errors import UnknownJob
from sidelane.model.event import END, GAP, Event
from sidelane.model.job import FINISHED, FollowUp, JobRecord, JobSpec, State, Tombstone
from sidelane.model.outcome import Cancelled, Outcome, Released, Succeeded
from sidelane.model.worker import Claimed
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store
from tests.contract.servers import EVERY_KIND, RunningServer

T = TypeVar("T")

ALWAYS = ("--appendfsync", "always", "--aof-load-truncated", "yes")

SEED = 7

CUTS = 60
"""Positions within calls at which the file is truncated, in addition to those between calls."""


@pytest.fixture(params=EVERY_KIND)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    folder = tmp_path / "server"
    folder.mkdir()
    running = RunningServer(request.param, folder).start(*ALWAYS)
    yield running
    running.stop(signal.SIGKILL)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(server: RunningServer, clock: ManualClock) -> AsyncIterator[Store]:
    store = await open_store(server.url(), clock=clock)
    yield store
    await store.close()


class Reader:
    """A client that keeps the events it has read, and starts over at an unnumbered gap."""

    def __init__(self, job_id: str, seen: list[Event] | None = None) -> None:
        self._job_id = job_id
        self.seen = seen or []
        self.gaps = 0

    async def read_on(self, store: Store) -> None:
        """Follow the job to its end, from where it stands."""
        after = self.seen[-1].cursor if self.seen else None
        async for event in stream_events(store, self._job_id, after):
            if event.name == GAP and not event.number:
                self.gaps += 1
                self.seen = []
            else:
                self.seen.append(event)

    async def look(self, store: Store) -> None:
        """Read once."""
        reading = await store.read(self._job_id, after=self.seen[-1].cursor if self.seen else None)
        assert reading is not None
        self.gaps += reading.gap
        self.seen = [*([] if reading.gap else self.seen), *reading.events]

    @property
    def texts(self) -> list[str]:
        return [json.loads(event.data) if event.name == "token" else event.name for event in self.seen]


async def test_a_reader_of_lost_tokens_gets_a_gap_and_the_log_as_stored(server: RunningServer, store: Store) -> None:
    claimed = await start(store, *specs("a"))
    await append_tokens(store, claimed, 1, "one")
    left = server.written
    await append_tokens(store, claimed, 2, "two")
    early, late = Reader("a"), Reader("a")
    for reader in early, late:
        await reader.look(store)
    server.crash(left)
    server.start()
    await early.look(store)
    assert (early.gaps, early.texts) == (1, ["one"])
    assert await append_tokens(store, claimed, 3, "three")  # the worker knows nothing of the crash
    assert await finish(store, claimed, Succeeded("1"), ordinal=4)
    for reader in early, late:
        await reader.read_on(store)
        assert reader.texts == ["one", "gap", "three", "end"] == await event_texts(store, "a")
    fresh = Reader("a")
    await fresh.read_on(store)
    assert (fresh.gaps, fresh.texts) == (0, ["one", "gap", "three", "end"]), "a new reader sees the gap too"
    assert (early.gaps, late.gaps) == (1, 1)


async def test_an_end_event_is_not_mistaken_for_a_lost_token_of_the_same_number(
    server: RunningServer, store: Store
) -> None:
    claimed = await start(store, *specs("a"))
    left = server.written
    await append_tokens(store, claimed, 1, "one")
    reader = Reader("a")
    await reader.look(store)
    server.crash(left)
    server.start()
    assert await finish(store, claimed, Succeeded("1"), ordinal=2)
    await reader.read_on(store)
    assert (reader.gaps, reader.texts) == (1, ["gap", "end"])


async def test_after_a_lost_claim_the_job_runs_again_and_the_first_attempt_changes_nothing(
    server: RunningServer, store: Store
) -> None:
    await submit(store, *specs("a"))
    left = server.written
    first = await claim_job(store, "a")
    await append_tokens(store, first, 1, "mine")
    reader = Reader("a")
    await reader.look(store)
    server.crash(left)
    server.start()
    assert (await record(store, "a")).state is State.QUEUED
    assert not await append_tokens(store, first, 2, "still mine")
    second = await claim_job(store, "a", worker="another")
    assert second.lease.attempt == first.lease.attempt, "which is why an attempt's number is not enough"
    assert not await append_tokens(store, first, 2, "still mine")
    assert not await finish(store, first, Succeeded("1"), ordinal=3)
    await append_tokens(store, second, 1, "theirs")
    assert await finish(store, second, Succeeded("2"), ordinal=2)
    await reader.read_on(store)
    assert (reader.gaps, reader.texts) == (1, ["theirs", "end"])
    assert (await record(store, "a")).result == "2"


async def test_after_a_lost_finish_the_job_runs_again_when_its_lease_expires(
    server: RunningServer, store: Store, clock: ManualClock
) -> None:
    claimed = await start(store, *specs("a"))
    await append_tokens(store, claimed, 1, "one")
    await store.sweep(lease=LEASE)
    left = server.written
    await finish(store, claimed, Succeeded("1"), ordinal=2)
    reader = Reader("a")
    await reader.look(store)
    assert reader.texts == ["one", "end"]
    server.crash(left)
    server.start()
    assert (await record(store, "a")).state is State.RUNNING
    await pass_time(store, clock, 3 * LEASE)
    again = await claim_job(store, "a")
    assert (again.lease.attempt, again.record.worker_losses) == (2, 1)
    await append_tokens(store, again, 1, "two")
    await finish(store, again, Succeeded("2"), ordinal=2)
    await reader.read_on(store)
    assert (reader.gaps, reader.texts) == (1, ["one", "two", "end"])


async def test_a_lost_submit_can_be_repeated(server: RunningServer, store: Store) -> None:
    await submit(store, *specs("a"))
    left = server.written
    await submit(store, *specs("b"))
    server.crash(left)
    server.start()
    assert isinstance((await store.get(["a"]))[0], JobRecord)
    assert await store.get(["b"]) == [None]
    with pytest.raises(UnknownJob):
        await Reader("b").read_on(store)
    await submit(store, *specs("b"))


async def test_a_lost_cancel_can_be_repeated(server: RunningServer, store: Store) -> None:
    claimed = await start(store, *specs("a"))
    left = server.written
    await store.cancel(["a"])
    server.crash(left)
    server.start()
    assert not (await record(store, "a")).cancel_requested
    await store.cancel(["a"])
    assert await finish(store, claimed, Cancelled())
    assert await event_texts(store, "a") == ["end"]


async def test_a_file_truncated_within_a_call_is_consistent_after_a_rewrite(
    server: RunningServer, store: Store
) -> None:
    claimed = await start(store, *specs("a"))
    left = server.written
    await append_tokens(store, claimed, 1, "one", "two")
    server.crash((left + server.written) // 2)
    server.start()
    server.rewrite()  # Redis 7.0 keeps the first half of the call in its file, and would append to it
    await submit(store, *specs("b", "c"))
    before = await snapshot(store, ("a", "b", "c"))
    server.stop()
    server.start()
    assert await snapshot(store, ("a", "b", "c")) == before
    assert [each.record.id for each in await claim(store)] == ["b", "c"]
    assert await append_tokens(store, claimed, 3, "three")
    assert await event_texts(store, "a") == ["gap", "three"]


Snapshot = dict[str, tuple[JobRecord | Tombstone | None, tuple[Event, ...]]]


@dataclass
class History:
    """The calls before the crash: file length and snapshot after each, and the jobs that still run."""

    server: RunningServer
    store: Store
    ids: tuple[str, ...]
    steps: list[tuple[int, Snapshot]] = field(default_factory=list)
    running: dict[str, tuple[Claimed, int]] = field(default_factory=dict)  # with the next ordinal

    async def step(self, call: Awaitable[T]) -> T:
        answer = await call
        self.steps.append((self.server.written, await snapshot(self.store, self.ids)))
        return answer

    async def claim(self, job_id: str) -> None:
        self.running[job_id] = await self.step(claim_job(self.store, job_id)), 1

    async def emit(self, job_id: str, *words: str) -> None:
        claimed, ordinal = self.running[job_id]
        assert await self.step(append_tokens(self.store, claimed, ordinal, *words))
        self.running[job_id] = claimed, ordinal + len(words)

    async def end(self, job_id: str, outcome: Outcome, *words: str) -> None:
        claimed, ordinal = self.running.pop(job_id)
        assert await self.step(finish(self.store, claimed, outcome, *tokens(*words), ordinal=ordinal))

    def at(self, length: int) -> Snapshot:
        """Return the snapshot at a file length."""
        return next(seen for written, seen in reversed(self.steps) if written <= length)


async def snapshot(store: Store, ids: tuple[str, ...]) -> Snapshot:
    """Return the records and events of jobs."""
    readings = [await store.read(job_id) for job_id in ids]
    return {
        job_id: (found, reading.events if reading else ())
        for job_id, found, reading in zip(ids, await store.get(ids), readings, strict=True)
    }


async def make_history(server: RunningServer, store: Store) -> History:
    """Make calls of every kind, one per step."""
    history = History(server, store, ("a", "b", "c", "d", "d.1.0", "e", "f", "g"))
    follow_up = FollowUp(FINISHED, JobSpec(id="", task="t"))
    await history.step(submit(store, *specs("a", "b", "c"), JobSpec(id="d", task="t", follow_ups=(follow_up,))))
    await history.claim("a")
    await history.emit("a", "a1")
    await history.claim("b")
    await history.emit("b", "b1", "b2")
    await history.emit("a", "a2", "a3")
    await history.end("b", Succeeded('"b"'), "b3")
    await history.step(submit(store, *specs("e", "f", "g")))
    await history.claim("c")
    await history.emit("c", "c1")
    await history.step(store.cancel(["c", "g"]))
    await history.claim("d")
    await history.step(store.requeue(["b"]))
    await history.emit("d", "d1")
    await history.claim("b")
    await history.emit("a", "a4")
    await history.emit("b", "b4")
    await history.end("d", Succeeded('"d"'))
    await history.end("b", Released(), "b5")
    await history.claim("f")
    await history.claim("d.1.0")
    await history.claim("b")
    await history.emit("b", "b6")
    await history.end("d.1.0", Succeeded("1"), "child")
    await history.emit("a", "a5")
    await history.emit("c", "c2")
    return history


async def continue_work(store: Store, clock: ManualClock, history: History, dice: random.Random) -> None:
    """Continue the worker as if there was no crash, then let another worker finish the rest."""
    for job_id, (claimed, ordinal) in history.running.items():
        more = dice.randrange(3)
        valid = all([await append_tokens(store, claimed, ordinal + number, "more") for number in range(more)])
        if valid and dice.randrange(2):
            await finish(store, claimed, Succeeded(f'"{job_id}"'), *tokens("last"), ordinal=ordinal + more)
    while unfinished := [
        each for each in await store.get(history.ids) if isinstance(each, JobRecord) and not each.ended
    ]:
        await pass_time(store, clock, 3 * LEASE)
        for claimed in await claim(store, worker="another"):
            await append_tokens(store, claimed, 1, "again")
            await finish(store, claimed, Succeeded("0"), ordinal=2)
        assert len(unfinished) <= len(history.ids)


@asynccontextmanager
async def crashed(history: History, left: int, folder: Path, clock: ManualClock) -> AsyncIterator[Store]:
    """Open a copy of the history's server as a crash leaves it."""
    server = history.server.twin(folder)
    server.crash(left)
    server.start(*ALWAYS)
    store = await open_store(server.url(), clock=clock)
    try:
        yield store
    finally:
        await store.close()
        server.stop(signal.SIGKILL)


def truncation_points(history: History, dice: random.Random) -> list[int]:
    """Return where to truncate the file: after each call, and at random positions within calls."""
    between = [written for written, _ in history.steps]
    return sorted({*between, *(dice.randrange(between[0], between[-1]) for _ in range(CUTS))})


@pytest.mark.long
async def test_wherever_the_file_is_truncated_whole_calls_are_left_and_every_reader_recovers(
    server: RunningServer, store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    dice = random.Random(SEED)
    history = await make_history(server, store)
    whole = {job_id: events for job_id, (_, events) in history.steps[-1][1].items()}
    gaps = 0
    for number, left in enumerate(truncation_points(history, dice)):
        then = ManualClock(clock())
        async with crashed(history, left, tmp_path / f"crash-{number}", then) as store_left:
            assert await snapshot(store_left, history.ids) == history.at(left)
            await continue_work(store_left, then, history, dice)
            gaps += await recover_readers(store_left, whole)
            await invariants.check(store_left, list(history.ids))
    assert gaps > 100, "readers should have met gaps"


async def recover_readers(store: Store, whole: dict[str, tuple[Event, ...]]) -> int:
    """Let readers at every position of the old logs read to the end. Returns how many met a gap."""
    gaps = 0
    for job_id, events in whole.items():
        if await store.get([job_id]) == [None]:
            continue
        truth = without_requeued_ends(await read_log(store, job_id))
        assert truth[-1].name == END
        for count in range(len(events) + 1):
            reader = Reader(job_id, list(events[:count]))
            await reader.read_on(store)
            assert without_requeued_ends(reader.seen) == truth, f"{job_id} after {count} of its events"
            gaps += reader.gaps
    return gaps


def without_requeued_ends(events: list[Event]) -> list[Event]:
    """Leave out the ends of requeued jobs, which later readers may not see."""
    return [event for index, event in enumerate(events) if event.name != END or index == len(events) - 1]
