"""Alerts: one when a finding has lasted, one when it is over, whatever happens to the processes that send them."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sidelane.admin.findings import alerts
from sidelane.admin.findings.alert_text import alert_body, format_of
from sidelane.admin.findings.evaluation import findings
from sidelane.admin.findings.finding import Action, Finding, Severity
from sidelane.admin.findings.monitor import AttentionMonitor
from sidelane.admin.findings.mutes import mute
from sidelane.model.sentence import sentence
from sidelane.model.settings import Settings
from sidelane.model.worker import WorkerInfo
from sidelane.stores.contract import Store
from tests.admin.conftest import BOTH_STORES
from tests.callbacks.local_receivers import Receiver, receiving, status

SICK = WorkerInfo(id="w1", name="chat-1", queues={"chat": 4}, slots=4, health="cannot open its resource llm: no GPU")
LEASE = 60.0

FINDING = Finding(
    key="target-wait:chat", severity=Severity.URGENT, sentence=sentence("Queue chat <b> & co"),
    evidence=[sentence("3 arrive.")], action=Action(sentence("Add 3 slots to chat"), "sidelane worker --queues chat=3"), since=0.0,
)  # fmt: skip


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as listening:
        yield listening


def settings_for(url: str, **fields: Any) -> Settings:
    return Settings(**{"alert_url": url, "alert_after": 0.0, "allow_private_callbacks": True, **fields})


@asynccontextmanager
async def monitors(store: Store, settings: Settings, count: int = 2) -> AsyncIterator[list[AttentionMonitor]]:
    """Run monitors as several processes would."""
    running = [AttentionMonitor(store, settings, interval=0.05) for _ in range(count)]
    async with asyncio.TaskGroup() as group:
        for each in running:
            group.create_task(each.run())
        yield running
        for each in running:
            each.stop()
    for each in running:
        await each.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.02)


async def rounds(store: Store, count: int = 3) -> None:
    """Wait until the findings have been evaluated so many times."""
    seen: set[str] = set()
    async with asyncio.timeout(10):
        while len(seen) <= count:
            (value,) = await store.read_values(["attention"])
            if value is not None:
                seen.add(value.version)
            await asyncio.sleep(0.01)


@BOTH_STORES
async def test_a_finding_is_sent_once_and_once_more_when_it_is_over(store: Store, receiver: Receiver) -> None:
    await store.heartbeat(SICK, [], lease=LEASE)
    async with monitors(store, settings_for(receiver.url), 3):
        (started,) = await receiver.until(1)
        await rounds(store)
    async with monitors(store, settings_for(receiver.url)):  # other processes do not repeat it
        await rounds(store)
        assert len(receiver.received) == 1
        await store.heartbeat(WorkerInfo(id="w1", name="chat-1", health="stopped"), [], lease=LEASE)
        _, over = await receiver.until(2)
        await rounds(store)
    assert len(receiver.received) == 2
    (alert,) = started.json["alerts"]
    assert (started.json["type"], alert["event"], alert["severity"]) == ("sidelane.alerts", "started", "urgent")
    assert alert["sentence"] == "Worker chat-1 is unhealthy: cannot open its resource llm: no GPU"
    assert over.json["alerts"] == [{"event": "over", "key": alert["key"], "sentence": alert["sentence"]}]


async def test_a_finding_that_has_not_lasted_is_not_sent(store: Store, receiver: Receiver) -> None:
    await store.heartbeat(SICK, [], lease=LEASE)
    async with monitors(store, settings_for(receiver.url, alert_after=3600.0)):
        await rounds(store)
    assert receiver.received == []


async def test_a_muted_finding_is_not_sent(store: Store, receiver: Receiver) -> None:
    await store.heartbeat(SICK, [], lease=LEASE)
    (found,) = await findings(store)
    await mute(store, found.key, 60.0)
    async with monitors(store, settings_for(receiver.url)):
        await rounds(store)
    assert receiver.received == []
    assert [each.muted_until is not None for each in await findings(store)] == [True]


async def test_a_receiver_that_fails_is_a_finding_until_it_works_again(
    store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(alerts, "RETRY_DELAYS", (0.3,) * 50)
    receiver.usual = status(503, "over")
    await store.heartbeat(SICK, [], lease=LEASE)
    async with monitors(store, settings_for(f"{receiver.url}/T00/secret-path?token=secret")):
        await receiver.until(2)
        undelivered = [str(each.sentence) for each in await findings(store) if each.key == "alerts"]
        receiver.usual = status(200)
        async with asyncio.timeout(10):
            while any(each.key == "alerts" for each in await findings(store)):
                await asyncio.sleep(0.05)
    assert undelivered == [f"Alerts do not arrive: 127.0.0.1:{receiver.port} answered 503"]
    assert [each.json["alerts"][0]["event"] for each in receiver.received] == ["started"] * len(receiver.received)
    assert caplog.text.count("alerts do not arrive") == 1
    assert caplog.text.count("alerts arrive again") == 1
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/secret", "http://10.0.0.1/secret", "https://user:secret@example.com/x"]
)
async def test_an_address_that_may_not_be_reached_is_said_once(
    store: Store, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    await store.heartbeat(SICK, [], lease=LEASE)
    async with monitors(store, settings_for(address, allow_private_callbacks=False)):
        await rounds(store, 4)
    assert caplog.text.count("alerts do not arrive") == 1
    assert "secret" not in caplog.text
    assert "alerts" in {each.key for each in await findings(store)}


async def test_an_address_that_is_down_is_a_finding(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    async with receiving() as closed:
        url = f"{closed.url}/secret"
    await store.heartbeat(SICK, [], lease=LEASE)
    async with monitors(store, settings_for(url)):
        await until(lambda: "alerts do not arrive" in caplog.text)
        await rounds(store)
    assert "could not be reached" in caplog.text
    assert "secret" not in caplog.text


async def test_a_message_that_fails_too_often_is_given_up(
    store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "RETRY_DELAYS", (0.0, 0.0))
    receiver.usual = status(500)
    await store.heartbeat(SICK, [], lease=LEASE)
    async with monitors(store, settings_for(receiver.url)):
        await receiver.until(3)
        await rounds(store, 4)
    assert len(receiver.received) == 3


async def test_a_process_with_an_address_evaluates_before_one_without(store: Store, receiver: Receiver) -> None:
    await store.heartbeat(SICK, [], lease=LEASE)
    async with monitors(store, Settings(), 3), monitors(store, settings_for(receiver.url), 1):
        await receiver.until(1)


async def test_findings_survive_a_store_that_is_away(
    store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    async def fail() -> None:
        calls.append("stats")
        raise ValueError("not readable")

    with monkeypatch.context() as patched:
        patched.setattr(store, "stats", fail)
        async with monitors(store, settings_for(receiver.url), 1):
            await until(lambda: len(calls) >= 3)
            patched.undo()
            await store.heartbeat(SICK, [], lease=LEASE)
            await receiver.until(1)
    assert caplog.text.count("findings could not be evaluated") == 1


def test_slack_and_discord_get_text_that_mentions_no_one() -> None:
    slack = json.loads(alert_body("slack", "m1", [FINDING], {"x": "Queue gpu was slow"}, 0.0))
    assert slack["text"].splitlines() == [
        "!! Queue chat &lt;b&gt; &amp; co. 3 arrive. → Add 3 slots to chat: sidelane worker --queues chat=3",
        "Over: Queue gpu was slow",
    ]
    discord = json.loads(alert_body("discord", "m1", [FINDING], {}, 0.0))
    assert discord["allowed_mentions"] == {"parse": []}


def test_a_long_text_is_cut_and_says_how_many_are_left_out() -> None:
    text = json.loads(alert_body("discord", "m1", [FINDING] * 60, {}, 0.0))["content"]
    assert len(text) <= 2000
    assert text.splitlines()[-1].endswith("more: `sidelane attention`")


def test_the_format_follows_the_host_unless_it_is_chosen() -> None:
    hosts = ("hooks.slack.com", "discord.com", "ptb.discord.com", "ops.example.com", "evil-slack.com")
    assert [format_of("", host) for host in hosts] == ["slack", "discord", "discord", "json", "json"]
    assert format_of("slack", "mattermost.example.com") == "slack"
