"""`sidelane messages`: list, show, requeue and purge messages that consumers could not use, and list endpoints."""

from pathlib import Path

import pytest

from sidelane import Message, Sidelane
from sidelane.client.client import Client
from sidelane.client.put_aside import note_put_aside
from sidelane.consumers.put_aside import put_aside
from sidelane.model.ids import new_nonce
from sidelane.model.job import Failure, State, Tombstone
from sidelane.model.outcome import AttemptResult, Failed
from sidelane.model.problem import Problem
from sidelane.model.worker import ClaimRequest
from sidelane.stores.contract import Store
from sidelane.tasks.internal_queues import MESSAGE_QUEUE
from tests.cli.command import Command
from tests.cli.project import Project
from tests.cli.store_driver import LEASE, WORKER, StoreDriver
from tests.consumers.put_aside import REASON, Intake, message

HOSTILE = "\x1b[2Jred\u202e한국어 \U0001f600 " + "x" * 200
REFUSED = Failed(Failure(problem=Problem(status=422, title="Message put aside", detail=REASON)))


def keep(driver: StoreDriver, kept: Message, *, consumer: str = "requests") -> str:
    """Put a message aside, as a worker does, and return the id of its copy."""
    intake = Intake(Sidelane(store=driver.url), consumer)

    async def act(store: Store) -> str:
        lane = intake.lane
        client = Client(store, settings=lane.settings, registry=lane.registry)
        await put_aside(client, intake.consumer, kept, REASON, id_retention=60.0)
        request = ClaimRequest(request=new_nonce(), worker=WORKER.id, queues={MESSAGE_QUEUE: 1}, lease=LEASE)
        (claimed,) = (await store.claim(request)).jobs
        await store.finish([AttemptResult(lease=claimed.lease, outcome=REFUSED)])
        return claimed.record.id

    return driver.call(act)


def test_messages_are_listed_newest_first_with_the_reason(driver: StoreDriver, sidelane: Command) -> None:
    first, second = keep(driver, message("m1")), keep(driver, message("m2"))
    driver.call(lambda store: note_put_aside(store, "r1", "SQS queue results", "", "it has no job"))
    result = sidelane("messages")
    assert [line.split()[0] for line in result.stdout.splitlines()[2:]] == [second, first]
    assert REASON in result.stdout
    assert "replies" in result.stdout.splitlines()[1]
    found = sidelane("messages", "list", "--json").json
    assert [(each["id"], each["message"], each["consumer"]) for each in found] == [
        (None, "r1", None), (second, "m2", "requests"), (first, "m1", "requests"),
    ]  # fmt: skip
    assert [each["id"] for each in sidelane("messages", "--json", "--limit", "2").json] == [None, second]
    assert "the newest 2" in sidelane("messages", "--limit", "2").stderr


def test_an_empty_list_names_the_store(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    result = sidelane("messages")
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"No message was put aside in {driver.url}" in result.stderr
    assert sidelane("messages", "--json").json == []


def test_show_prints_the_body_and_why(driver: StoreDriver, sidelane: Command) -> None:
    copy_id = keep(driver, Message(id="m1", body="line one\nline two", attributes={"kind": "greeting"}))
    result = sidelane("messages", "show", copy_id[:12])
    assert result.exit_code == 0
    assert "Body\nline one\nline two\n" in result.stdout
    for text in ("requests", REASON, '{"kind": "greeting"}'):
        assert text in result.stdout
    document = sidelane("messages", "show", copy_id, "--json").json
    assert (document["body"], document["attributes"]) == ("line one\nline two", {"kind": "greeting"})
    assert (document["state"], document["job"]) == ("failed", None)


def test_unknown_message_is_reported(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    result = sidelane("messages", "show", "one")
    assert result.exit_code == 4
    assert "no copy of such a message is kept" in result.stderr
    assert sidelane("messages", "requeue", "one").exit_code == 4


def test_hostile_messages_fit_the_terminal_and_do_not_act_on_it(driver: StoreDriver, sidelane: Command) -> None:
    copy_id = keep(driver, Message(id=HOSTILE, body=HOSTILE, attributes={HOSTILE[:9]: HOSTILE}), consumer=HOSTILE)
    for arguments in (["messages"], ["messages", "show", copy_id]):
        result = sidelane(*arguments, env={"COLUMNS": "80"})
        assert result.exit_code == 0
        assert "\x1b" not in result.stdout
        assert "\u202e" not in result.stdout
        assert max(map(len, result.stdout.splitlines())) <= 80
    assert copy_id in sidelane("messages", env={"COLUMNS": "80"}).stdout
    assert sidelane("messages", "show", copy_id, "--json").json["body"] == HOSTILE


def test_requeue_queues_the_copy_and_leaves_an_audit_line(driver: StoreDriver, sidelane: Command) -> None:
    copy_id = keep(driver, message())
    result = sidelane("messages", "requeue", copy_id, "--reason", "deployed")
    assert (result.exit_code, result.stdout) == (0, f"✓ {copy_id}  requeued: a worker handles it again\n")
    assert driver.record(copy_id).state is State.QUEUED
    assert "a worker handles it again" in sidelane("messages").stdout
    assert "already" in sidelane("messages", "requeue", copy_id).stderr
    failed, done = sidelane("audit", "--json").json
    assert (done["action"], done["target"]) == ("message.requeue", copy_id)
    assert (done["reason"], done["done"], failed["done"]) == ("deployed", True, False)


def test_requeue_all_asks_and_requeues_every_copy(driver: StoreDriver, sidelane: Command) -> None:
    ids = [keep(driver, message(f"m{number}")) for number in range(3)]
    driver.fail("dead", Failure(problem=Problem(status=500)))
    assert sidelane("messages", "requeue", "--all").exit_code == 2
    result = sidelane("messages", "requeue", "--all", "--yes")
    assert (result.exit_code, result.stdout) == (0, "✓ 3 messages requeued\n")
    assert {driver.record(each).state for each in ids} == {State.QUEUED}
    assert driver.record("dead").state is State.FAILED


def test_dead_requeue_all_leaves_messages_alone(driver: StoreDriver, sidelane: Command) -> None:
    copy_id = keep(driver, message())
    assert "No matching dead letter" in sidelane("dead", "requeue", "--all", "--yes").stderr
    assert driver.record(copy_id).state is State.FAILED


def test_purge_removes_copies(driver: StoreDriver, sidelane: Command) -> None:
    copy_id, other = keep(driver, message("m1")), keep(driver, message("m2"))
    assert sidelane("messages", "purge", copy_id).exit_code == 2
    assert sidelane("messages", "purge", copy_id, "--yes").stdout == f"✓ {copy_id}  purged\n"
    assert [each["id"] for each in sidelane("messages", "--json").json] == [other]
    (found,) = driver.call(lambda store: store.get([copy_id]))
    assert isinstance(found, Tombstone)
    assert sidelane("messages", "purge", "--all", "--yes").stdout == "✓ 1 message purged\n"
    assert sidelane("messages", "--json").json == []


@pytest.mark.parametrize("verb", ["requeue", "purge"])
def test_ids_or_all_are_needed(driver: StoreDriver, sidelane: Command, verb: str) -> None:
    for arguments in ([], ["one", "--all"]):
        result = sidelane("messages", verb, *arguments)
        assert result.exit_code == 2
        assert "give ids, or --all" in result.stderr


@pytest.mark.usefixtures("modules")
def test_endpoints_of_a_lane_are_listed(project: Project, driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    Path("shop/lane.py").write_text(Path("shop/lane.py").read_text() + CONSUMER)
    result = sidelane("messages", "endpoints", "--lane", "shop.lane:lane")
    assert result.exit_code == 0
    assert "SQS queue orders" in result.stdout
    assert sidelane("messages", "endpoints", "--lane", "shop.lane:lane", "--json").json == [
        {
            "endpoint": "SQS queue orders",
            "use": "consumer",
            "names": ["intake"],
            "dead_letters": "unreadable",
            "errors": {},
        }
    ]


CONSUMER = """
from sidelane import Sqs


@lane.consumer(Sqs("orders", dead_letters="unreadable"))
def intake(message):
    return None
"""
