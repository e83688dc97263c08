"""Copies of messages that a consumer could not use: kept, requeued, purged, and bounded in number and size."""

import json

import pytest

from sidelane import Call, Message, RateLimit, Sidelane, Sqs, State
from sidelane.admin.actions import Status
from sidelane.admin.put_aside import (
    PutAsideMessage,
    message_of,
    newest_put_aside,
    purge_messages,
    put_aside_page,
    requeue_messages,
)
from sidelane.client import put_aside as journal
from sidelane.consumers import put_aside as copies
from sidelane.consumers.consumer import Consumer
from sidelane.model.job import Query
from sidelane.tasks.internal_queues import MESSAGE_QUEUE
from tests.admin.conftest import BOTH_STORES, url, valkey
from tests.consumers.put_aside import REASON, Intake, message
from tests.dashboard.waiting import until

__all__ = ["url", "valkey"]

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def lane(url: str) -> Sidelane:
    return Sidelane(store=url, settings={"lease_duration": 2.0, "shutdown_timeout": 0.0})


async def listed(intake: Intake) -> list[PutAsideMessage]:
    return await newest_put_aside(intake.lane.client.store, 50)


async def until_put_aside(intake: Intake) -> str:
    """Wait until the only message waits for an operator, and return the id of its copy."""

    async def waits() -> bool:
        return [each.copy is not None and each.copy.state for each in await listed(intake)] == [State.FAILED]

    await until(waits)
    (only,) = await listed(intake)
    assert only.copy is not None
    return only.copy.id


async def until_accepted(intake: Intake) -> None:
    async def accepted() -> bool:
        return not await listed(intake)

    await until(accepted)


@BOTH_STORES
async def test_requeued_message_becomes_a_job_as_if_it_had_just_arrived(url: str) -> None:
    intake = Intake(lane(url))
    async with intake.lane.open(workers=1):
        await intake.put_aside(message(content="\u00e9 \U0001f600", traceparent=TRACE))
        copy_id = await until_put_aside(intake)
        (noted,) = await listed(intake)
        assert (noted.reason, noted.noted.message, noted.noted.receiver) == (REASON, "m1", "requests")
        assert await intake.lane.client.find(Query(task="reply-requests")) == []
        intake.open = True
        (result,) = await requeue_messages(intake.lane.client.store, [copy_id])
        assert result.status is Status.DONE
        await until_accepted(intake)
        (job,) = await intake.lane.client.find(Query(task="reply-requests"))
        arrived = await intake.consumer.spec(message(), id_retention=600.0)
        assert arrived is not None
        assert (job.id, job.spec.user, job.spec.trace) == (arrived.id, "ann", TRACE)
        assert json.loads(job.spec.arguments) == {"content": "\u00e9 \U0001f600"}
        copy = await intake.lane.client.record(copy_id)
        assert (copy.state, copy.result) == (State.SUCCEEDED, f'"{job.id}"')


@BOTH_STORES
async def test_message_that_is_refused_again_stays_with_the_new_reason(url: str) -> None:
    intake = Intake(lane(url))
    async with intake.lane.open(workers=1):
        await intake.put_aside(Message(id="m1", body="no JSON"))
        copy_id = await until_put_aside(intake)
        intake.open = True
        await requeue_messages(intake.lane.client.store, [copy_id])

        async def refused_again() -> bool:
            (only,) = await listed(intake)
            return only.reason.startswith("JSONDecodeError")

        await until(refused_again)


async def test_message_whose_job_exists_makes_no_second_one(url: str) -> None:
    intake = Intake(lane(url))
    async with intake.lane.open(workers=1):
        await intake.put_aside(message())
        copy_id = await until_put_aside(intake)
        intake.open = True
        spec = await intake.consumer.spec(message(), id_retention=600.0)
        assert spec is not None
        await intake.lane.client.submit_spec(spec)
        await requeue_messages(intake.lane.client.store, [copy_id])
        await until_accepted(intake)
        assert len(await intake.lane.client.find(Query(task="reply-requests"))) == 1


async def test_message_that_comes_again_has_one_copy_and_one_line(url: str) -> None:
    intake = Intake(lane(url))
    async with intake.lane.open(workers=1):
        for _ in range(3):
            await intake.put_aside(message())
        copy_id = await until_put_aside(intake)
        await intake.put_aside(message())
        (only,) = await listed(intake)
        assert only.times == 1
        await purge_messages(intake.lane.client.store, [copy_id])
        assert await listed(intake) == []
        await intake.put_aside(message())
        assert await until_put_aside(intake) == copy_id


async def test_message_whose_process_ended_before_it_noted_it_is_noted_when_it_comes_again(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def end(*_: object, **__: object) -> None: ...

    intake = Intake(lane(url))
    async with intake.lane.open():
        with monkeypatch.context() as ended:
            ended.setattr(copies, "note_put_aside", end)
            await intake.put_aside(message())
        assert await listed(intake) == []
        for _ in range(2):
            await intake.put_aside(message())
        (only,) = await listed(intake)
        assert (only.copy is not None, only.times) == (True, 1)


async def test_message_that_is_refused_after_it_was_accepted_is_put_aside_again(url: str) -> None:
    intake = Intake(lane(url))
    async with intake.lane.open(workers=1):
        await intake.put_aside(message())
        copy_id = await until_put_aside(intake)
        intake.open = True
        await requeue_messages(intake.lane.client.store, [copy_id])
        await until_accepted(intake)
        intake.open = False
        await intake.put_aside(message())

        async def put_aside_again() -> bool:
            return [each.copy is not None and each.copy.state for each in await listed(intake)] == [State.FAILED]

        await until(put_aside_again)


async def test_limit_that_rejects_the_job_lets_the_copy_try_later(url: str) -> None:
    opened = lane(url)

    @opened.task(limits=[RateLimit("1/h", per="task")])
    async def once() -> None: ...

    def requests(message: Message) -> Call[None]:
        return once.call()

    consumer = Consumer(requests, "requests", Sqs("feedback"), opened.registry)
    copies.declare_put_aside(opened, consumer, lambda: opened.client)
    async with opened.open(workers=1):
        client = opened.client
        await copies.put_aside(client, consumer, message(), REASON, id_retention=600.0)
        (only,) = await newest_put_aside(client.store, 1)
        assert only.copy is not None
        await client.wait(only.copy.id, 10)
        await once.submit()
        await requeue_messages(client.store, [only.copy.id])

        async def waits() -> bool:
            record = await client.record(only.noted.job)
            return record.state is State.QUEUED and record.attempt == 2

        await until(waits)
        (result,) = await requeue_messages(client.store, [only.copy.id])
        assert (result.status, str(result.message)) == (Status.FAILED, "a worker handles it again already")


async def test_worker_without_the_consumer_leaves_the_copy_to_others(url: str) -> None:
    intake, other = Intake(lane(url)), Intake(lane(url), "other")
    async with intake.lane.open():
        await intake.put_aside(message())
        async with other.lane.open(workers=1):
            await other.put_aside(message("m2"))

            async def second_failed() -> bool:
                return any(each.copy and each.copy.state is State.FAILED for each in await listed(intake))

            await until(second_failed)
            states = {each.noted.message: each.copy and each.copy.state for each in await listed(intake)}
            assert states == {"m1": State.QUEUED, "m2": State.FAILED}


@pytest.mark.parametrize(
    "body",
    ["x" * 10_000_000, "\U0001f600" * 70_000, "\ud800", '"' * 200_000],
    ids=["10 MB", "emoji", "surrogate", "quotes"],
)
async def test_message_of_which_no_copy_can_be_kept_is_noted_with_its_reason(url: str, body: str) -> None:
    intake = Intake(lane(url))
    async with intake.lane.open():
        for _ in range(2):
            await intake.put_aside(Message(id="m1", body=body))
        (only,) = await listed(intake)
        assert (only.copy, only.reason, only.times) == (None, REASON, 2)
        assert await intake.lane.client.find(Query(queue=MESSAGE_QUEUE)) == []


@BOTH_STORES
@pytest.mark.parametrize("body", ["\0\x1b[2J\r\n\u202e", "", "\ufffd" * 80_000, "<script>hacked()</script>"])
async def test_body_is_kept_exactly(url: str, body: str) -> None:
    intake = Intake(lane(url))
    async with intake.lane.open():
        kept = Message(id="m1", body=body, attributes={"kind": body[:100]}, group="g")
        await intake.put_aside(kept)
        (only,) = await listed(intake)
        assert only.copy is not None
        assert message_of(only.copy) == kept


@BOTH_STORES
async def test_copies_of_the_newest_messages_are_kept(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MAX_ENTRIES", 3)
    intake = Intake(lane(url))
    async with intake.lane.open(workers=1):
        for number in range(5):
            await intake.put_aside(message(f"m{number}"))

            async def failed(number: int = number) -> bool:
                return any(
                    each.noted.message == f"m{number}" and each.copy is not None and each.copy.state is State.FAILED
                    for each in await listed(intake)
                )

            await until(failed)
        assert [each.noted.message for each in await listed(intake)] == ["m4", "m3", "m2"]


async def test_list_has_pages(url: str) -> None:
    intake = Intake(lane(url))
    async with intake.lane.open():
        store, names = intake.lane.client.store, list[str]()
        for number in range(105):
            await journal.note_put_aside(store, f"m{number}", "queue", "requests", REASON)
        page = await put_aside_page(store)
        names += [each.noted.message for each in page.messages]
        while page.before is not None:
            page = await put_aside_page(store, before=page.before)
            names += [each.noted.message for each in page.messages]
        assert names == [f"m{number}" for number in range(104, -1, -1)]


async def test_action_on_something_else_than_a_copy_changes_nothing(url: str) -> None:
    intake = Intake(lane(url))
    async with intake.lane.open(workers=1):
        job = await intake.reply.submit("x")
        await job.result(timeout=10)
        for act in (requeue_messages, purge_messages):
            results = await act(intake.lane.client.store, [job.id, "gone", "x y"])
            assert {each.status for each in results} == {Status.NOT_FOUND}
        assert (await intake.lane.client.record(job.id)).ends == 1


def test_each_consumer_has_its_task() -> None:
    assert copies.message_task("requests") == "sidelane.message.requests"
