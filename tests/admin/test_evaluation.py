"""Findings of a real store: each appears with its cause, keeps its start time, and ends with its cause."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from sidelane import ConcurrencyLimit, Queue, Sidelane
from sidelane.admin.findings.evaluation import Attention, findings
from sidelane.admin.findings.finding import Finding
from sidelane.admin.findings.memory import MEMORY, Memory, load_memory, save_memory
from sidelane.admin.findings.mutes import load_mutes, mute, unmute
from sidelane.admin.findings.reading import FactReader
from sidelane.client.declarations import DECLARATIONS, Declarations, load_declarations
from sidelane.model.job import Failure, JobSpec
from sidelane.model.json_text import dump_json
from sidelane.model.outcome import AttemptResult, Failed
from sidelane.model.problem import Problem
from sidelane.model.shared_state import JournalAppend, ValueChange
from sidelane.model.worker import WORKER_EXITS, ClaimRequest, WorkerInfo
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store
from tests.admin.conftest import BOTH_STORES

WORKER = WorkerInfo(id="w1", name="chat-1", queues={"chat": 4}, tasks={"answer": 1}, slots=4)
LEASE = 60.0


async def eventually(
    read: Callable[[], Awaitable[list[Finding]]], condition: Callable[[dict[str, Finding]], bool]
) -> dict[str, Finding]:
    """Evaluate until a condition of the findings by key holds, for at most ten seconds."""
    async with asyncio.timeout(10):
        while not condition(found := {each.key: each for each in await read()}):
            await asyncio.sleep(0.05)
    return found


async def test_a_queue_misses_its_target_until_its_jobs_run(url: str) -> None:
    gate = asyncio.Event()
    lane = Sidelane(queues=[Queue("chat", worker_concurrency=1, target_wait=0.5)], store=url)

    @lane.task(queue="chat")
    async def answer() -> None:
        await gate.wait()

    async with lane.open(workers=1):
        attention = Attention(lane.client.store)
        jobs = [await answer.submit() for _ in range(3)]
        found = await eventually(attention.findings, lambda keys: "target-wait:chat" in keys)
        assert "misses its target wait of 0.5 s" in found["target-wait:chat"].sentence
        gate.set()
        for job in jobs:
            await job.result(timeout=10)
        assert await eventually(attention.findings, lambda keys: not keys) == {}


async def test_a_flooding_user_alone_raises_no_finding(url: str) -> None:
    lane = Sidelane(queues=[Queue("chat", worker_concurrency=4, target_wait=0.5)], store=url)

    @lane.task(queue="chat", limits=[ConcurrencyLimit(2, per="user", on_limit="wait", name="fair")])
    async def answer() -> None:
        await asyncio.sleep(0.02)

    async with lane.open(workers=1):
        await lane.submit_many([answer.options(user="u-8841").call() for _ in range(100)])
        others = [await answer.options(user=f"user-{number}").submit() for number in range(5)]
        ends = asyncio.gather(*(job.result(timeout=10) for job in others))
        attention = Attention(lane.client.store)
        for _ in range(15):
            assert await attention.findings() == []
            await asyncio.sleep(0.05)
        await ends


async def test_dead_letters_go_when_they_are_requeued(store: Store) -> None:
    await store.heartbeat(WORKER, [], lease=LEASE)
    await store.submit([JobSpec(id=f"job-{n}", task="answer", queue="chat") for n in range(3)])
    request = ClaimRequest(
        request="r1", worker="w1", queues={"chat": 3}, limit=3, lease=LEASE, release="2f91c0d", tasks={"answer": 1}
    )
    claims = await store.claim(request)
    failure = Failure(problem=Problem(status=500, title="Internal error"), error="KeyError: 'stock_code'\nat 3")
    await store.finish([AttemptResult(lease=each.lease, outcome=Failed(failure)) for each in claims.jobs])
    attention = Attention(store)
    (found,) = await attention.findings()
    assert found.sentence == "3 dead letters of one cause: KeyError: 'stock_code' in answer v1, on release 2f91c0d"
    assert (await attention.findings())[0].key == found.key
    await store.requeue([f"job-{n}" for n in range(3)])
    assert await attention.findings() == []


@BOTH_STORES
async def test_what_is_kept_of_dead_letters_is_small(store: Store) -> None:
    arguments = dump_json({"text": "x" * 100_000})
    await store.submit([JobSpec(id="a", task="answer", queue="chat", arguments=arguments)])
    claims = await store.claim(ClaimRequest(request="r1", worker="w1", queues={"chat": 1}, limit=1, lease=LEASE))
    failure = Failure(problem=Problem(status=500), error="KeyError: 'stock_code'", traceback="y" * 16_000)
    await store.finish([AttemptResult(lease=claims.jobs[0].lease, outcome=Failed(failure))])
    reader = FactReader(store)
    for _ in range(2):
        (record,) = (await reader.read()).facts.failed
        assert record.last_failure is not None
        assert record.last_failure.error == "KeyError: 'stock_code'"
        assert len(repr(record)) < 5_000


async def test_since_is_when_a_finding_was_first_found(tmp_path: Path) -> None:
    clock = ManualClock()
    store = await open_store(f"sqlite:///{tmp_path / 'timed.db'}", clock=clock)
    try:
        sick = WorkerInfo(id="w1", name="chat-1", queues={"chat": 4}, slots=4, health="no GPU")
        await store.heartbeat(sick, [], lease=3600.0)
        (first,) = await findings(store)
        clock.advance(100.0)
        (second,) = await findings(store)
        assert first.since is not None
        assert second.since == first.since
        await store.heartbeat(WORKER, [], lease=3600.0)
        clock.advance(100.0)
        assert await findings(store) == []
        await store.heartbeat(sick, [], lease=3600.0)
        (again,) = await findings(store)
        assert again.since == first.since + 200.0
    finally:
        await store.close()


async def test_since_stays_while_it_is_not_saved_yet(tmp_path: Path) -> None:
    clock = ManualClock()
    store = await open_store(f"sqlite:///{tmp_path / 'timed.db'}", clock=clock)
    try:
        assert await findings(store) == []  # just saved
        await store.heartbeat(replace(WORKER, health="no GPU"), [], lease=3600.0)
        attention = Attention(store)
        (first,) = await attention.findings()
        clock.advance(5.0)
        (second,) = await attention.findings()
        assert second.since == first.since
    finally:
        await store.close()


@BOTH_STORES
async def test_workers_that_died_are_read_from_their_journal(store: Store) -> None:
    line = '{"worker":"chat-1","host":"box","release":"r1","reason":"out of memory","memory":600000000}'
    await store.append_entries(JournalAppend(journal=WORKER_EXITS, texts=[line], cap=1000))
    (found,) = await findings(store)
    assert found.sentence == "1 worker was killed in the last 15 min: out of memory"
    assert "chat-1: out of memory at 600 MB" in found.evidence


async def test_a_changed_server_is_found_from_what_is_remembered() -> None:
    memory = Memory().with_server("run-1", 100.0)
    assert memory.server_changed is None
    assert memory.with_server("run-1", 200.0).server_changed is None
    assert memory.with_server("run-2", 300.0).server_changed == 300.0
    assert memory.with_server("", 400.0) == memory


async def test_a_memory_in_another_form_counts_as_none(store: Store) -> None:
    await store.set_value(ValueChange(name=MEMORY, text='{"seen": 7, "new": []}', replaces=None))
    assert await findings(store) == []
    (value,) = await store.read_values([MEMORY])
    assert load_memory(value).samples == ()


async def test_of_two_memories_at_the_same_time_one_counts(store: Store) -> None:
    first = await save_memory(store, Memory(seen={"a": 1.0}), None)
    assert first is not None
    assert await save_memory(store, Memory(seen={"b": 2.0}), None) is None
    (value,) = await store.read_values([MEMORY])
    assert load_memory(value).seen == {"a": 1.0}


@BOTH_STORES
async def test_mutes_end_by_themselves_and_by_hand(store: Store) -> None:
    until = await mute(store, "target-wait:chat", 60.0)
    await mute(store, "limit:vllm/vllm", 10.0)
    (value,) = await store.read_values(["muted findings"])
    assert load_mutes(value, until - 1) == {"target-wait:chat": until}
    assert await unmute(store, "target-wait:chat")
    assert not await unmute(store, "target-wait:chat")


async def test_declarations_of_several_lanes_are_kept_together(url: str, store: Store) -> None:
    async def declared() -> Declarations:
        return load_declarations((await store.read_values([DECLARATIONS]))[0])

    chat = Sidelane(queues=[Queue("chat", target_wait=10)], store=url)
    tts = Sidelane(queues=[Queue("tts", target_wait=300)], store=url)

    @tts.task(queue="tts", limits=[ConcurrencyLimit(2, per="user", on_limit="wait", name="fair")])
    def speak() -> None: ...

    for lane in (chat, tts):
        async with lane.open():
            pass
    both = await declared()
    assert both.target_waits == {"chat": 10, "tts": 300}
    assert [both.counts_by_user(name) for name in ("fair", "answer-per-user", "vllm")] == [True, True, False]
    async with Sidelane(queues=[Queue("chat")], store=url).open():
        pass
    assert (await declared()).target_waits == {"tts": 300}


async def test_an_evaluation_of_many_queues_is_bounded(store: Store) -> None:
    await store.submit([JobSpec(id=f"job-{number}", task="answer", queue=f"q{number}") for number in range(200)])
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert len(await findings(store)) <= 60
    assert loop.time() - began < 2.0
