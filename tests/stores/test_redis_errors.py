"""Redis failures: restarts, lost connections, full or read-only servers, other schemas, wrong passwords."""

import asyncio
import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from sidelane import Sidelane
from sidelane.conformance.stores.actions import (
    LEASE,
    claim,
    claim_job,
    event_texts,
    finish,
    record,
    specs,
    start,
    submit,
    tokens,
)
from sidelane.model.errors import StoreMisconfigured, StoreUnavailable
from sidelane.model.job import JobSpec, Lease, State, Submission
from sidelane.model.outcome import AttemptResult, EventAppend, LeaseStatus, Succeeded
from sidelane.model.shared_state import JournalAppend, ValueChange
from sidelane.model.worker import WorkerInfo
from sidelane.stores.contract import REQUEST_RETENTION, Store, job_topic, queue_topic
from sidelane.stores.factory import open_store
from sidelane.stores.redis import notifications
from sidelane.stores.redis.preflight import SCHEMA
from tests.contract.servers import EVERY_KIND, RunningServer
from tests.stores.short_timeouts import short_timeouts


@pytest.fixture(params=EVERY_KIND)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    # Under `everysec` a server that waits for a slow disk puts off writing its file for up to two seconds: see decision 14.
    running = RunningServer(request.param, tmp_path).start("--appendfsync", "always")
    yield running
    running.stop(signal.SIGKILL)


@pytest.mark.row("R9")
async def test_kill_9_and_restart_of_the_server_lose_nothing_acknowledged(server: RunningServer, store: Store) -> None:
    running = await start(store, *specs("running"))
    await store.append([EventAppend(lease=running.lease, ordinal=1, entries=tokens("one"))])
    ended = await start(store, *specs("ended"))
    await finish(store, ended, Succeeded("1"), *tokens("last"))
    await submit(store, *specs("queued"))
    server.stop(signal.SIGKILL)
    server.start()
    assert await event_texts(store, "running") == ["one"]
    assert await event_texts(store, "ended") == ["last", "end"]
    assert [each.record.id for each in await claim(store)] == ["queued"]
    assert await finish(store, running, Succeeded("2"), *tokens("two"), ordinal=2)
    assert await event_texts(store, "running") == ["one", "two", "end"]


async def test_calls_during_a_server_restart_take_effect_once(server: RunningServer, store: Store) -> None:
    async def submit_all() -> list[object]:
        answers: list[object] = []
        for number in range(300):
            answers += await store.submit(specs(f"j{number}"))
        return answers

    submitting = asyncio.create_task(submit_all())
    await asyncio.sleep(0.05)
    await asyncio.to_thread(server.stop, signal.SIGKILL)
    await asyncio.sleep(0.3)
    await asyncio.to_thread(server.start)
    assert all(isinstance(answer, Submission) for answer in await submitting)
    assert len(await claim(store, limit=1000)) == 300


async def test_watches_are_woken_after_a_restart_and_receive_hints_again(server: RunningServer, store: Store) -> None:
    async with store.watch(queue_topic("default"), job_topic("a")) as wakeups:
        await asyncio.to_thread(server.stop, signal.SIGKILL)
        await asyncio.to_thread(server.start)
        assert await wakeups.wait(10)
        await asyncio.sleep(0.3)
        await submit(store, *specs("a"))
        assert await wakeups.wait(10)


@pytest.mark.long
async def test_a_quiet_notification_connection_is_kept_and_a_dead_one_replaced(
    server: RunningServer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "PING_INTERVAL", 0.2)
    async with store.watch(queue_topic("default")) as wakeups:
        assert not await wakeups.wait(0.7)
        server.send(signal.SIGSTOP)
        await asyncio.sleep(0.7)
        server.send(signal.SIGCONT)
        assert await wakeups.wait(10)
        await asyncio.sleep(0.2)
        await submit(store, *specs("a"))
        assert await wakeups.wait(10)


async def test_killed_connections_are_replaced(store: Store, admin: "Redis") -> None:
    await submit(store, *specs("a"))
    async with store.watch(job_topic("a")) as wakeups:
        await admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # type: ignore[no-untyped-call]
        await admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call]
        await claim_job(store, "a")
        assert await wakeups.wait(10)


async def test_an_unreachable_server_is_unavailable_and_the_error_names_the_setting(
    server: RunningServer, store: Store
) -> None:
    server.stop()
    with short_timeouts(), pytest.raises(StoreUnavailable, match="SIDELANE_STORE"):
        async with asyncio.timeout(8):
            await store.submit(specs("a"))
    server.start()
    await submit(store, *specs("a"))


async def test_flushed_scripts_are_loaded_again(store: Store, admin: "Redis") -> None:
    await admin.script_flush()
    await submit(store, *specs("a"))


async def test_a_full_server_rejects_new_jobs_and_lets_running_ones_finish(store: Store, admin: "Redis") -> None:
    await submit(store, *specs("a", "b", "c"))
    claimed = await claim_job(store, "a")
    await admin.config_set("maxmemory", "1mb")
    with pytest.raises(StoreUnavailable, match="full"):
        await store.submit(specs("d"))
    with pytest.raises(StoreUnavailable, match="full"):
        await store.append([EventAppend(lease=claimed.lease, ordinal=1, entries=tokens("x"))])
    assert await store.heartbeat(WorkerInfo(id="w", name="w"), [claimed.lease], lease=LEASE) == [LeaseStatus.HELD]
    assert await finish(store, claimed, Succeeded("1"))
    await store.cancel(["b"])
    await store.sweep(lease=LEASE)
    assert await finish(store, await claim_job(store, "c"), Succeeded("1"))
    await admin.config_set("maxmemory", "0")
    assert {(await record(store, job_id)).state for job_id in "ac"} == {State.SUCCEEDED}
    await submit(store, *specs("d"))


async def test_a_full_server_takes_changes_of_values_and_refuses_entries_of_journals(
    store: Store, admin: "Redis"
) -> None:
    create = ValueChange(name="pause:chat", text='{"reason": "full"}', replaces=None)
    append = JournalAppend(journal="audit", texts=["one"], cap=10)
    await store.append_entries(append)
    await admin.config_set("maxmemory", "1mb")
    assert await store.set_value(create)
    assert [each.text for each in await store.list_values()] == [create.text]
    with pytest.raises(StoreUnavailable, match="full"):
        await store.append_entries(JournalAppend(journal="audit", texts=["two"], cap=10))
    assert await store.set_value(ValueChange(name="pause:chat", text=None, replaces=create.version))
    assert [each.text for each in await store.read_journal("audit")] == ["one"]
    await admin.config_set("maxmemory", "0")
    await store.append_entries(JournalAppend(journal="audit", texts=["two"], cap=10))


async def test_calls_during_a_server_restart_change_values_and_journals_once(
    server: RunningServer, store: Store
) -> None:
    async def count() -> None:
        version = None
        for number in range(300):
            change = ValueChange(name="x", text=str(number), replaces=version)
            assert await store.set_value(change)
            version = change.version
            append = JournalAppend(journal="j", texts=[str(number)], cap=1000)
            assert await store.append_entries(append) == [number + 1]

    counting = asyncio.create_task(count())
    await asyncio.sleep(0.05)
    await asyncio.to_thread(server.stop, signal.SIGKILL)
    await asyncio.sleep(0.3)
    await asyncio.to_thread(server.start)
    await counting
    assert [each.text for each in await store.list_values()] == ["299"]


async def test_requests_are_forgotten_and_trimmed_entries_leave_no_rows(store: Store, admin: "Redis") -> None:
    await store.set_value(ValueChange(name="x", text="1", replaces=None, version="v"))
    for number in range(30):
        await store.append_entries(JournalAppend(journal="j", texts=["1"] * 20, cap=600, request=f"r{number}"))
    await store.append_entries(JournalAppend(journal="j", texts=["1"], cap=1, request="last"))
    for request in "v", "last":
        assert 0 < await admin.ttl(f"{{sidelane}}:request:{request}") <= REQUEST_RETENTION
    assert await admin.llen("{sidelane}:journal:j") == 400  # of 601, one append removes at most 201
    for _ in range(2):
        await store.append_entries(JournalAppend(journal="j", texts=["1"], cap=1))
    assert await admin.llen("{sidelane}:journal:j") == 1


async def test_a_read_only_replica_is_refused_at_open_and_unavailable_later(
    server: RunningServer, store: Store, admin: "Redis"
) -> None:
    await admin.replicaof("127.0.0.1", 1)
    with pytest.raises(StoreMisconfigured, match=r"replica.*SIDELANE_STORE"):
        await open_store(server.url())
    with short_timeouts(), pytest.raises(StoreUnavailable, match="SIDELANE_STORE"):
        await store.submit(specs("a"))
    await admin.replicaof("NO", "ONE")
    await submit(store, *specs("a"))


@pytest.mark.parametrize(
    ("schema", "words"), [(SCHEMA + 1, "newer Sidelane"), (SCHEMA - 1, "before the first release .*another .name=")]
)
async def test_keys_of_another_schema_are_refused(
    server: RunningServer, store: Store, admin: "Redis", schema: int, words: str
) -> None:
    await admin.execute_command("HSET", "{sidelane}:meta", "schema", schema)  # type: ignore[no-untyped-call]
    with pytest.raises(StoreMisconfigured, match=words):
        await open_store(server.url())


async def test_a_wrong_password_is_an_error_that_names_the_setting_and_no_secret(
    server: RunningServer, admin: "Redis"
) -> None:
    await admin.config_set("requirepass", "right")
    for password in "", "wrong":
        with pytest.raises(StoreMisconfigured, match="SIDELANE_STORE") as raised:
            await open_store(server.url(password=password))
        assert "wrong" not in str(raised.value).replace("WRONGPASS", "")
    store = await open_store(server.url(password="right"))
    await submit(store, JobSpec(id="a", task="t"))
    await store.close()


async def test_settings_that_may_lose_jobs_are_durability_warnings(
    server: RunningServer, store: Store, admin: "Redis"
) -> None:
    assert store.durability_warnings == []
    await admin.config_set("appendonly", "no")
    await admin.config_set("maxmemory-policy", "allkeys-lru")
    later = await open_store(server.url())
    await later.close()
    assert ["appendonly yes" in danger for danger in later.durability_warnings] == [True, False]
    assert ["noeviction" in danger for danger in later.durability_warnings] == [False, True]


async def test_durability_warnings_are_logged_once_when_a_lane_opens(
    server: RunningServer, admin: "Redis", caplog: pytest.LogCaptureFixture
) -> None:
    await admin.config_set("appendonly", "no")
    await admin.config_set("requirepass", "tellnobody")
    lane = Sidelane(store=server.url(password="tellnobody"))
    with caplog.at_level(logging.WARNING):
        async with lane.open(workers=1):  # whose heartbeat opens the store a second time
            while not await lane.client.store.workers():
                await asyncio.sleep(0.01)
    assert [each.getMessage().count("may lose jobs") for each in caplog.records] == [1]
    assert "appendonly yes" in caplog.text
    assert "tellnobody" not in caplog.text


async def test_a_call_repeated_after_a_lost_reply_takes_effect_once(store: Store) -> None:
    claimed = await start(store, *specs("a"))
    report = AttemptResult(lease=claimed.lease, outcome=Succeeded("1"), entries=tokens("one"))
    assert await asyncio.gather(*(store.finish([report]) for _ in range(20))) == [[True]] * 20
    assert await event_texts(store, "a") == ["one", "end"]
    stale = Lease("a", 1, "nonce")
    assert await store.finish([AttemptResult(lease=stale, outcome=Succeeded("2"))]) == [False]


async def test_stores_of_different_names_on_one_server_are_separate(server: RunningServer, store: Store) -> None:
    other = await open_store(server.url(name="other"))
    await submit(store, *specs("a"))
    assert await other.get(["a"]) == [None]
    await submit(other, *specs("a"))
    await other.close()
