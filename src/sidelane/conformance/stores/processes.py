"""Real processes on one database: killed at any time, they leave every invariant true."""

import asyncio
import json
import multiprocessing
import random
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from itertools import pairwise
from multiprocessing.context import ForkServerProcess
from typing import Any

import pytest

from sidelane.conformance.stores.actions import claim, follow_to_end, specs, submit
from sidelane.conformance.stores.fixtures import StoreFactory, StoreSuite
from sidelane.conformance.stores.invariants import check
from sidelane.conformance.worker_processes import COUNTER, COUNTER_CAP, FEW, LEASE, PRELOADED, STORY_CALLS, main
from sidelane.model.job import UNFINISHED, JobSpec, Query, State
from sidelane.model.limit_override import LimitOverride
from sidelane.model.outcome import AttemptResult, Succeeded
from sidelane.stores.contract import Store


class WorkerProcess:
    """A child process and the messages it has sent."""

    def __init__(self, process: ForkServerProcess, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._process = process
        self._writer = writer
        self._reading = asyncio.create_task(self._read(reader))
        self._received = asyncio.Event()
        self.messages: list[dict[str, Any]] = []

    @classmethod
    async def start(cls, role: str, factory: StoreFactory, name: str, count: int) -> "WorkerProcess":
        """Start a process and wait until its store is open. It begins to work at `go`.

        It is forked from a process that has imported everything and opened nothing.
        """
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
        parent_end, child_end = socket.socketpair()
        process = context.Process(target=main, args=(child_end, role, factory.url, name, count))
        process.start()  # not in a thread: start() polls other children and could take the exit code that join() waits for
        child_end.close()
        reader, writer = await asyncio.open_connection(sock=parent_end)
        assert json.loads(await reader.readline()) == {"ready": name}
        return cls(process, reader, writer)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        async for line in reader:
            if line.endswith(b"\n"):  # the last line of a killed process may be cut
                self.messages.append(json.loads(line))
                self._received.set()

    async def receive(self, count: int) -> None:
        """Wait until the process has sent `count` messages."""
        while len(self.messages) < count:
            self._received.clear()
            await self._received.wait()

    def start_work(self) -> None:
        self._writer.write(b"go\n")

    def kill(self) -> None:
        self._process.kill()

    async def end(self) -> int | None:
        """Wait for the process to exit, and return its exit code."""
        await self._reading
        self._writer.close()
        self._process.join()
        return self._process.exitcode


class Processes(StoreSuite):
    """Several processes on one database, with the wall clock."""

    @pytest.fixture
    async def wall_clock_store(self, factory: StoreFactory) -> AsyncIterator[Store]:
        """A store with the wall clock, like those of the child processes."""
        store = await factory.open(time.time)
        yield store
        await store.close()

    @pytest.mark.slow
    async def test_a_job_can_be_submitted_run_and_read_in_different_processes(
        self, factory: StoreFactory, wall_clock_store: Store
    ) -> None:
        process = await WorkerProcess.start("claim_all", factory, "r", 1)
        await submit(wall_clock_store, *specs("a", "b"))
        async with asyncio.timeout(10):
            following = asyncio.create_task(follow_to_end(wall_clock_store, "a"))
            await asyncio.sleep(0.05)
            process.start_work()
            events = await following
        assert [event.name for event in events] == ["end"]
        assert await process.end() == 0
        assert {each["job"] for each in process.messages} == {"a", "b"}
        assert {job.state for job in await check(wall_clock_store, ["a", "b"])} == {State.SUCCEEDED}

    @pytest.mark.slow
    async def test_concurrent_workers_in_several_processes_run_no_job_twice(
        self, factory: StoreFactory, wall_clock_store: Store
    ) -> None:
        many = [f"j{n}" for n in range(400)]
        await submit(
            wall_clock_store, *(JobSpec(id=job_id, task="t", user=f"u{n % 5}") for n, job_id in enumerate(many))
        )
        processes = await asyncio.gather(*(WorkerProcess.start("claim_all", factory, f"p{n}", 13) for n in range(4)))
        for process in processes:
            process.start_work()
        async with asyncio.timeout(100):
            assert [await process.end() for process in processes] == [0] * 4
        assert Counter(each["job"] for process in processes for each in process.messages) == dict.fromkeys(many, 1)
        assert {job.state for job in await check(wall_clock_store, many)} == {State.SUCCEEDED}

    @pytest.mark.slow
    async def test_concurrent_workers_in_several_processes_never_exceed_a_limit(
        self, factory: StoreFactory, wall_clock_store: Store
    ) -> None:
        many = [f"j{n}" for n in range(80)]
        await submit(wall_clock_store, *(JobSpec(id=id_, task="t", user=id_[-1], limits=(FEW,)) for id_ in many))
        processes = await asyncio.gather(*(WorkerProcess.start("run_limited", factory, f"p{n}", 4) for n in range(3)))
        for process in processes:
            process.start_work()
        async with asyncio.timeout(100):
            assert [await process.end() for process in processes] == [0] * 3
        messages = [each for process in processes for each in process.messages]
        assert Counter(each["job"] for each in messages) == dict.fromkeys(many, 1)
        running = [sum(other["since"] <= each["since"] < other["until"] for other in messages) for each in messages]
        assert 1 < max(running) <= FEW.max
        assert await wall_clock_store.limits() == []

    @pytest.mark.slow
    async def test_concurrent_workers_in_several_processes_never_exceed_a_changed_limit(
        self, factory: StoreFactory, wall_clock_store: Store
    ) -> None:
        many = [f"j{n}" for n in range(30)]
        await submit(wall_clock_store, *(JobSpec(id=id_, task="t", limits=(FEW,)) for id_ in many))
        processes = await asyncio.gather(*(WorkerProcess.start("run_limited", factory, f"p{n}", 4) for n in range(2)))
        await wall_clock_store.override_limit(LimitOverride(name=FEW.name, max=1, since=0.0))
        for process in processes:
            process.start_work()
        async with asyncio.timeout(100):
            assert [await process.end() for process in processes] == [0] * 2
        runs = sorted((each["since"], each["until"]) for process in processes for each in process.messages)
        assert len(runs) == len(many)
        assert all(until <= since for (_, until), (since, _) in pairwise(runs))

    @pytest.mark.slow
    async def test_of_the_changes_of_a_version_by_several_processes_exactly_one_counts(
        self, factory: StoreFactory, wall_clock_store: Store
    ) -> None:
        processes = await asyncio.gather(*(WorkerProcess.start("count_up", factory, f"p{n}", 40) for n in range(3)))
        for process in processes:
            process.start_work()
        async with asyncio.timeout(100):
            assert [await process.end() for process in processes] == [0] * 3
        messages = [each for process in processes for each in process.messages]
        assert sorted(each["counted"] for each in messages if "counted" in each) == list(range(1, 121))
        assert sorted(n for each in messages for n in each.get("appended", ())) == list(range(1, 121))
        (found,) = await wall_clock_store.read_values([COUNTER])
        assert found is not None
        assert found.text == "120"
        entries = await wall_clock_store.read_journal(COUNTER)
        assert [entry.number for entry in entries] == list(range(120, 120 - COUNTER_CAP, -1))

    @pytest.mark.slow
    async def test_kill_9_at_any_time_loses_no_acknowledged_change_of_a_value_and_no_entry(
        self, factory: StoreFactory, wall_clock_store: Store
    ) -> None:
        processes = await asyncio.gather(*(WorkerProcess.start("count_up", factory, f"p{n}", 0) for n in range(4)))
        async with asyncio.timeout(100):
            for process in processes:
                process.start_work()
            for process in processes:
                await process.receive(10)
                process.kill()
                assert await process.end() == -9
        messages = [each for process in processes for each in process.messages]
        counted = [each["counted"] for each in messages if "counted" in each]
        appended = [number for each in messages for number in each.get("appended", ())]
        (found,) = await wall_clock_store.read_values([COUNTER])
        (newest,) = await wall_clock_store.read_journal(COUNTER, limit=1)
        for acknowledged, stored in (counted, int(found.text) if found else 0), (appended, newest.number):
            assert len(set(acknowledged)) == len(acknowledged)
            assert max(acknowledged) <= stored <= len(acknowledged) + len(processes)

    @pytest.mark.slow
    async def test_kill_9_between_any_two_calls_leaves_every_invariant_true(
        self, factory: StoreFactory, wall_clock_store: Store
    ) -> None:
        names = [f"s{calls}" for calls in range(1, STORY_CALLS + 1)]
        slots = asyncio.Semaphore(3)  # more processes than cores would only slow each other down

        async def run_until_killed(calls: int, name: str) -> int | None:
            async with slots:
                process = await WorkerProcess.start("scripted_calls", factory, name, calls)
                process.start_work()
                return await process.end()

        async with asyncio.timeout(100):
            codes = await asyncio.gather(*(run_until_killed(calls, name) for calls, name in enumerate(names, 1)))
        assert codes == [-9] * len(names)
        jobs = [f"{name}{job}" for name in names[1:] for job in "ab"]  # the first one only opened its batch
        assert len(await check(wall_clock_store, jobs)) == len(jobs)
        await recover(wall_clock_store)
        assert all(job.state.finished for job in await check(wall_clock_store, jobs))
        assert await wall_clock_store.limits() == []
        await check_batches(wall_clock_store, names)

    @pytest.mark.slow
    @pytest.mark.row("R9")
    async def test_kill_9_at_any_time_loses_nothing_that_was_acknowledged(
        self, factory: StoreFactory, wall_clock_store: Store
    ) -> None:
        dice = random.Random(9)
        workers: list[WorkerProcess] = []
        async with asyncio.timeout(100):
            for generation in range(4):
                pair = await asyncio.gather(
                    *(
                        WorkerProcess.start("random_work", factory, f"t{generation}{n}", 2 * generation + n)
                        for n in range(2)
                    )
                )
                for worker in pair:
                    worker.start_work()
                for worker in pair:
                    await asyncio.sleep(dice.uniform(0.05, 0.3))
                    worker.kill()
                    assert await worker.end() == -9
                workers += pair
            await recover(wall_clock_store)
        messages = [line for worker in workers for line in worker.messages]
        tried = {job_id for line in messages for job_id in line.get("tried", ())}
        acknowledged = {job_id for line in messages for job_id in line.get("submitted", ())}
        succeeded = {line["succeeded"]: line["result"] for line in messages if "succeeded" in line}
        found = {job.id: job for job in await check(wall_clock_store, sorted(tried | succeeded.keys()))}
        assert acknowledged <= found.keys()
        assert len(succeeded) == sum("succeeded" in line for line in messages)
        assert {job_id: found[job_id].result for job_id in succeeded} == succeeded
        assert all(job.state.finished for job in found.values())
        assert await wall_clock_store.limits() == []


async def check_batches(store: Store, names: list[str]) -> None:
    """Check that the counts of batches match their jobs, and that sealed ones have ended."""
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
    """Sweep and run jobs until none is unfinished."""
    async with asyncio.timeout(30):
        while await store.list_jobs(Query(states=UNFINISHED, limit=1)):
            await store.sweep(lease=LEASE)
            claimed = await claim(store, worker="recovery", limit=200, lease=LEASE)
            claimed += await claim(store, worker="recovery", limit=200, lease=LEASE, isolated=True)
            await store.finish([AttemptResult(lease=each.lease, outcome=Succeeded('"again"')) for each in claimed])
            await asyncio.sleep(0 if claimed else LEASE / 6)
