"""Processes: real ones on one storage, killed without warning, leave every invariant true."""

import asyncio
import json
import multiprocessing
import random
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from multiprocessing.context import ForkServerProcess
from typing import Any

import pytest

from sidelane.conformance.stores.actions import claim, follow_to_end, specs, submit
from sidelane.conformance.stores.fixtures import StoreFactory, StoreSuite
from sidelane.conformance.stores.invariants import check
from sidelane.conformance.worker_processes import CALLS_OF_THE_STORY, FEW, LEASE, PRELOADED, main
from sidelane.model.job import UNFINISHED, JobSpec, Query, State
from sidelane.model.outcome import AttemptResult, Succeeded
from sidelane.stores.contract import Store


class Racer:
    """One child process, with all it has told."""

    def __init__(self, process: ForkServerProcess, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._process = process
        self._writer = writer
        self._reading = asyncio.create_task(self._read(reader))
        self.told: list[dict[str, Any]] = []

    @classmethod
    async def start(cls, part: str, place: StoreFactory, name: str, count: int) -> "Racer":
        """Start a process and wait until its store is open; it begins with `go`.

        It is forked from a process that has loaded everything and opened nothing.
        """
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
        ours, theirs = socket.socketpair()
        process = context.Process(target=main, args=(theirs, part, place.url, name, count))
        process.start()  # not in a thread: a start also polls the others, and could read the exit code that a join waits for
        theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours)
        assert json.loads(await reader.readline()) == {"ready": name}
        return cls(process, reader, writer)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        async for line in reader:
            if line.endswith(b"\n"):  # the last line of a killed process may be cut
                self.told.append(json.loads(line))

    def go(self) -> None:
        self._writer.write(b"go\n")

    def kill(self) -> None:
        self._process.kill()

    async def end(self) -> int | None:
        """Wait for the process to end, and give its exit code."""
        await self._reading
        self._writer.close()
        self._process.join()
        return self._process.exitcode


class Processes(StoreSuite):
    """One storage, several processes, the wall clock."""

    @pytest.fixture
    async def living(self, place: StoreFactory) -> AsyncIterator[Store]:
        """A store whose time is the wall clock's, as it is for the child processes."""
        store = await place.open(time.time)
        yield store
        await store.close()

    @pytest.mark.slow
    async def test_a_job_can_be_submitted_run_and_read_in_different_processes(
        self, place: StoreFactory, living: Store
    ) -> None:
        racer = await Racer.start("race", place, "r", 1)
        await submit(living, *specs("a", "b"))
        async with asyncio.timeout(10):
            following = asyncio.create_task(follow_to_end(living, "a"))
            await asyncio.sleep(0.05)
            racer.go()
            events = await following
        assert [event.name for event in events] == ["end"]
        assert await racer.end() == 0
        assert {each["job"] for each in racer.told} == {"a", "b"}
        assert {job.state for job in await check(living, ["a", "b"])} == {State.SUCCEEDED}

    @pytest.mark.slow
    async def test_concurrent_workers_in_several_processes_run_no_job_twice(
        self, place: StoreFactory, living: Store
    ) -> None:
        many = [f"j{n}" for n in range(400)]
        await submit(living, *(JobSpec(id=job_id, task="t", user=f"u{n % 5}") for n, job_id in enumerate(many)))
        racers = await asyncio.gather(*(Racer.start("race", place, f"p{n}", 13) for n in range(4)))
        for racer in racers:
            racer.go()
        async with asyncio.timeout(100):
            assert [await racer.end() for racer in racers] == [0] * 4
        assert Counter(each["job"] for racer in racers for each in racer.told) == dict.fromkeys(many, 1)
        assert {job.state for job in await check(living, many)} == {State.SUCCEEDED}

    @pytest.mark.slow
    async def test_concurrent_workers_in_several_processes_never_exceed_a_limit(
        self, place: StoreFactory, living: Store
    ) -> None:
        many = [f"j{n}" for n in range(80)]
        await submit(living, *(JobSpec(id=id_, task="t", user=id_[-1], limits=(FEW,)) for id_ in many))
        racers = await asyncio.gather(*(Racer.start("share", place, f"p{n}", 4) for n in range(3)))
        for racer in racers:
            racer.go()
        async with asyncio.timeout(100):
            assert [await racer.end() for racer in racers] == [0] * 3
        told = [each for racer in racers for each in racer.told]
        assert Counter(each["job"] for each in told) == dict.fromkeys(many, 1)
        running = [sum(other["since"] <= each["since"] < other["until"] for other in told) for each in told]
        assert 1 < max(running) <= FEW.most
        assert await living.limits() == []

    @pytest.mark.slow
    async def test_kill_9_between_any_two_calls_leaves_every_invariant_true(
        self, place: StoreFactory, living: Store
    ) -> None:
        names = [f"s{calls}" for calls in range(1, CALLS_OF_THE_STORY + 1)]
        room = asyncio.Semaphore(3)  # more at once than there are cores would only wait for each other

        async def live_and_die(calls: int, name: str) -> int | None:
            async with room:
                racer = await Racer.start("story", place, name, calls)
                racer.go()
                return await racer.end()

        async with asyncio.timeout(100):
            codes = await asyncio.gather(*(live_and_die(calls, name) for calls, name in enumerate(names, 1)))
        assert codes == [-9] * len(names)
        jobs = [f"{name}{job}" for name in names[1:] for job in "ab"]  # the first one only opened its batch
        assert len(await check(living, jobs)) == len(jobs)
        await recover(living)
        assert all(job.state.finished for job in await check(living, jobs))
        assert await living.limits() == []
        await check_batches(living, names)

    @pytest.mark.slow
    async def test_kill_9_at_any_time_loses_nothing_that_was_acknowledged(
        self, place: StoreFactory, living: Store
    ) -> None:
        dice = random.Random(9)
        toilers: list[Racer] = []
        async with asyncio.timeout(100):
            for generation in range(4):
                pair = await asyncio.gather(
                    *(Racer.start("toil", place, f"t{generation}{n}", 2 * generation + n) for n in range(2))
                )
                for toiler in pair:
                    toiler.go()
                for toiler in pair:
                    await asyncio.sleep(dice.uniform(0.05, 0.3))
                    toiler.kill()
                    assert await toiler.end() == -9
                toilers += pair
            await recover(living)
        told = [line for toiler in toilers for line in toiler.told]
        tried = {job_id for line in told for job_id in line.get("tried", ())}
        acknowledged = {job_id for line in told for job_id in line.get("submitted", ())}
        succeeded = {line["succeeded"]: line["result"] for line in told if "succeeded" in line}
        found = {job.id: job for job in await check(living, sorted(tried | succeeded.keys()))}
        assert acknowledged <= found.keys()
        assert len(succeeded) == sum("succeeded" in line for line in told)
        assert {job_id: found[job_id].result for job_id in succeeded} == succeeded
        assert all(job.state.finished for job in found.values())
        assert await living.limits() == []


async def check_batches(store: Store, names: list[str]) -> None:
    """Check that the batches of stories count what has become of their jobs, and ended if they were sealed."""
    for name in names:
        batch = await store.get_batch(name)
        assert batch is not None, name
        states = Counter(job.state for job in await store.list_jobs(Query(batch=name)))
        counted = {State.SUCCEEDED: batch.succeeded, State.FAILED: batch.failed, State.CANCELLED: batch.cancelled}
        assert (states.total(), states) == (batch.total, Counter(counted)), name
        assert (batch.ended is not None, batch.ends > 0) == (batch.sealed, batch.sealed), name
        follow_ups = await store.get([f"{name}.{end}.0" for end in range(1, batch.ends + 2)])
        assert [job is not None for job in follow_ups] == [*[True] * batch.ends, False], name


async def recover(store: Store) -> None:
    """Sweep, run what comes back, and go on until nothing is unfinished."""
    async with asyncio.timeout(30):
        while await store.list_jobs(Query(states=UNFINISHED, limit=1)):
            await store.sweep(lease=LEASE)
            claimed = await claim(store, worker="recovery", limit=200, lease=LEASE)
            claimed += await claim(store, worker="recovery", limit=200, lease=LEASE, isolated=True)
            await store.finish([AttemptResult(lease=each.lease, outcome=Succeeded('"again"')) for each in claimed])
            await asyncio.sleep(0 if claimed else LEASE / 6)
