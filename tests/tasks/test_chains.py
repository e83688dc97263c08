"""Chains: follow-ups of a job's end, what they get, and invalid chains."""

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest

from sidelane import (
    PREVIOUS_FAILURE,
    PREVIOUS_RESULT,
    ArgumentsError,
    Call,
    CancelAfter,
    ConcurrencyLimit,
    Context,
    FinishedJob,
    JobCancelled,
    JobFailed,
    PayloadTooLarge,
    RateLimit,
    Sidelane,
    State,
    Use,
)
from sidelane.model.errors import TaskDeclarationError
from sidelane.testing import harness
from tests.tasks.shop import Report, Shop, the_one

SOON = 10.0

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def shop() -> Shop:
    return Shop()


async def test_a_result_is_passed_on_in_the_type_of_the_parameter(shop: Shop) -> None:
    async with harness(shop.lane) as t:
        job = await shop.write.options(then=shop.publish.call(PREVIOUS_RESULT, channel="sports")).submit(7)
        await t.drain()
        assert shop.published == [(Report(score=7), "sports")]
        child = await the_one(t, shop.publish)
        assert (child.id, child.spec.parent) == (f"{job.id}.1.0", job.id)
        assert await shop.publish.job(child.id).result() == "sports-7"


async def test_a_finished_job_has_everything_known_of_the_failure(shop: Shop) -> None:
    async with harness(shop.lane) as t:
        call = shop.fail.options(
            on_failure=shop.tell.call(PREVIOUS_FAILURE, urgent=True), user="u1", key="k", labels={"a": "b"}
        )
        job = await call.submit("too hot")
        await t.drain()
        (told,) = shop.told
        assert told.problem == (await job.record()).problem.document()  # type: ignore[union-attr]
        assert told == FinishedJob(
            id=job.id, task="fail", queue="default", state=State.FAILED, attempts=2, user="u1", key="k",
            labels={"a": "b"}, problem=told.problem, error="ValueError: too hot", arguments={"words": "too hot"},
            at=(await job.record()).ended or 0.0,
        )  # fmt: skip


async def test_success_submits_then_and_failure_submits_on_failure(shop: Shop) -> None:
    following: Any = {"then": shop.publish.call(PREVIOUS_RESULT), "on_failure": shop.tell.call(PREVIOUS_FAILURE)}
    async with harness(shop.lane) as t:
        await shop.write.options(**following).submit(1)
        await t.drain()
        assert (len(shop.published), len(shop.told)) == (1, 0)
        await shop.fail.options(**following).submit("x")
        await t.drain()
        assert (len(shop.published), len(shop.told)) == (1, 1)
        cancelled = await shop.write.options(**following).submit(2)
        await cancelled.cancel()
        await t.drain()
        assert (len(shop.published), len(shop.told)) == (1, 1)


async def test_several_calls_may_follow_one_and_have_follow_ups(shop: Shop) -> None:
    @shop.lane.task
    async def note(text: str) -> None: ...

    last = shop.publish.options(then=note.call(PREVIOUS_RESULT)).call(PREVIOUS_RESULT, channel="b")
    async with harness(shop.lane) as t:
        job = await shop.write.options(then=[shop.publish.call(PREVIOUS_RESULT, channel="a"), last]).submit(3)
        await t.drain()
        assert sorted(channel for _, channel in shop.published) == ["a", "b"]
        record = await the_one(t, note)
        assert (record.id, record.state) == (f"{job.id}.1.1.1.0", State.SUCCEEDED)


async def test_a_requeued_job_submits_its_follow_ups_again(shop: Shop) -> None:
    async with harness(shop.lane) as t:
        job = await shop.write.options(then=shop.publish.call(PREVIOUS_RESULT)).submit(3)
        await t.drain()
        await job.requeue()
        await t.drain()
        assert [record.id for record in await t.records(shop.publish)] == [f"{job.id}.1.0", f"{job.id}.2.0"]
        assert len(shop.published) == 2


async def test_follow_ups_inherit_only_user_and_trace(shop: Shop) -> None:
    own = shop.publish.options(user="u2", priority=5).call(PREVIOUS_RESULT, channel="own")
    call = shop.write.options(
        then=[shop.publish.options(then=shop.tell.call(FinishedJob(id="i", task="t", queue="q", state=State.FAILED, attempts=1)))
              .call(PREVIOUS_RESULT), own], user="u1", priority=9, key="k", unique="q", labels={"a": "b"},
    ).call(1)  # fmt: skip
    async with harness(shop.lane) as t:
        await t.client.submit(call, trace=TRACE)
        await t.drain()
        specs = [record.spec for task in (shop.publish, shop.tell) for record in await t.records(task)]
        assert [(spec.user, spec.priority) for spec in specs] == [("u1", 0), ("u2", 5), ("u1", 0)]
        assert all((spec.trace, spec.key, spec.unique, spec.labels) == (TRACE, None, None, {}) for spec in specs)


async def test_follow_ups_wait_for_limits_and_ignore_a_full_queue(shop: Shop) -> None:
    limits: list[ConcurrencyLimit | RateLimit] = [
        ConcurrencyLimit(1, per="user"),
        ConcurrencyLimit(2, per="task", on_limit="replace"),
        RateLimit("1/hour", per="task"),
    ]

    @shop.lane.task(queue="small", limits=limits)
    async def post(report: Report) -> None: ...

    spec = shop.write.options(then=post.call(PREVIOUS_RESULT), user="u1").call(1).spec()
    (follow_up,) = spec.follow_ups
    assert follow_up.on == {State.SUCCEEDED}
    found = [(limit.key, limit.on_limit) for limit in follow_up.spec.limits]
    assert found == [("u1", "wait"), ("post", "wait"), ("post", "wait")]
    assert follow_up.spec.max_queued is None
    assert post.options(user="u1").call(Report(score=1)).spec().max_queued == 1


async def test_a_limit_per_user_uses_the_parents_user(shop: Shop) -> None:
    @shop.lane.task(limits=[ConcurrencyLimit(1, per="user")])
    async def post(report: Report) -> None: ...

    followed = shop.write.options(then=post.call(PREVIOUS_RESULT))
    with pytest.raises(ArgumentsError, match="post: limit key missing"):
        followed.call(1).spec()
    assert followed.options(user="u1").call(1).spec().follow_ups[0].spec.limits[0].key == "u1"


def test_follow_ups_are_not_cancelled_for_lack_of_listeners(shop: Shop) -> None:
    @shop.lane.task(on_disconnect=CancelAfter(after=3))
    async def post(report: Report) -> None: ...

    own = post.options(on_disconnect=CancelAfter(after=5)).call(PREVIOUS_RESULT)
    spec = shop.write.options(then=[post.call(PREVIOUS_RESULT), own]).call(1).spec()
    assert [follow_up.spec.abandon_after for follow_up in spec.follow_ups] == [None, 5]


async def test_a_follow_up_is_skipped_if_a_job_has_its_unique_key(shop: Shop) -> None:
    call = shop.write.options(then=shop.publish.options(unique="one").call(PREVIOUS_RESULT)).call(1)
    async with harness(shop.lane) as t:
        for _ in range(2):
            await shop.lane.submit(call)
        await t.drain()
        assert len(await t.records(shop.write)) == 2
        assert len(await t.records(shop.publish)) == 1


def test_a_call_with_placeholders_cannot_be_submitted_by_itself(shop: Shop) -> None:
    with pytest.raises(
        ArgumentsError, match=r"publish: report=PREVIOUS_RESULT is known only when another job has ended"
    ):
        shop.publish.call(PREVIOUS_RESULT).spec()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (lambda shop: {"then": shop.publish.options(id="x").call(PREVIOUS_RESULT)}, "is made of its parent's"),
        (lambda shop: {"then": shop.tell.call(PREVIOUS_FAILURE)}, "no PREVIOUS_FAILURE when a job has succeeded"),
        (lambda shop: {"on_failure": shop.publish.call(PREVIOUS_RESULT)}, "no PREVIOUS_RESULT when a job has failed"),
        (lambda shop: {"then": shop.publish}, "this takes calls"),
        (lambda shop: {"on_failure": [shop.tell.call(PREVIOUS_FAILURE), None]}, "this takes calls"),
        (
            lambda shop: {"then": [shop.publish.call(PREVIOUS_RESULT, channel=str(n)) for n in range(101)]},
            "More than 100 calls",
        ),
        (lambda shop: {"then": deep(shop, 21)}, "More than 20 calls would follow one after another"),
    ],
)
def test_an_invalid_chain_raises_when_it_is_declared(shop: Shop, options: Any, words: str) -> None:
    with pytest.raises(ArgumentsError, match=words):
        shop.write.options(**options(shop))


def deep(shop: Shop, depth: int) -> Call[Report]:
    """Return a chain of so many calls."""
    call = shop.write.call(0)
    for number in range(1, depth):
        call = shop.write.options(then=call).call(number)
    return call


def test_twenty_calls_may_follow_one_after_another(shop: Shop) -> None:
    spec = shop.write.options(then=deep(shop, 20)).call(-1).spec()
    for _ in range(20):
        (follow_up,) = spec.follow_ups
        spec = follow_up.spec
    assert spec.follow_ups == ()


def test_the_number_of_follow_ups_counts_nested_chains(shop: Shop) -> None:
    wide = [shop.publish.call(PREVIOUS_RESULT, channel=str(number)) for number in range(30)]
    several = [shop.write.options(then=wide).call(number) for number in range(3)]
    shop.write.options(then=several)
    with pytest.raises(ArgumentsError, match="More than 100 calls would follow"):
        shop.write.options(then=[*several, shop.write.options(then=wide).call(4)])


def test_a_call_cannot_follow_itself(shop: Shop) -> None:
    again = shop.fail.options(on_failure=shop.write.options(then=shop.write.call(1)).call(2)).call("x")
    with pytest.raises(ArgumentsError, match="write: this call follows itself, with the same arguments"):
        shop.write.options(then=again).call(1)
    assert shop.write.options(then=again).call(3).spec().follow_ups


async def test_a_task_may_follow_itself_with_its_own_result(shop: Shop) -> None:
    @shop.lane.task
    async def double(number: int) -> int:
        return 2 * number

    call = double.options(then=double.options(then=double.call(PREVIOUS_RESULT)).call(PREVIOUS_RESULT)).call(1)
    async with harness(shop.lane) as t:
        await t.client.submit(call)
        await t.drain()
        assert [record.result for record in await t.records(double)] == ["2", "4", "8"]


def test_the_size_of_a_chain_counts_all_its_arguments() -> None:
    lane = Sidelane(settings={"payload_limit": 2000})

    @lane.task
    async def say(words: str) -> None: ...

    follower = say.call("x" * 1500)
    with pytest.raises(PayloadTooLarge, match="The chain of 'say' is 2,5"):
        say.options(then=follower).call("y" * 1000).spec()
    assert say.options(then=follower).call("y" * 100).spec().follow_ups


async def test_a_cascading_child_is_stored_as_such(shop: Shop) -> None:
    @shop.lane.task
    async def crawl(ctx: Context = Use(Context)) -> None:
        await ctx.submit(shop.write.call(1))
        await ctx.submit(shop.write.call(2), cancel="cascade")

    @shop.lane.task
    async def wrong(ctx: Context = Use(Context)) -> None:
        await ctx.submit(shop.write.call(1), cancel="parent")  # type: ignore[arg-type]

    async with harness(shop.lane) as t:
        await t.run(crawl.call())
        assert [record.spec.cascade for record in await t.records(shop.write)] == [False, True]
        with pytest.raises(JobFailed):
            await t.run(wrong.call())
        assert "this is 'leave' or 'cascade'" in (await the_one(t, wrong)).history[0].error


async def test_children_with_cascade_are_cancelled_with_their_parent(lane: Sidelane) -> None:
    @lane.task
    async def page(number: int) -> None:
        await asyncio.sleep(60)

    @lane.task
    async def crawl(ctx: Context = Use(Context)) -> list[str]:
        children = [
            await ctx.submit(page.options(delay=60).call(1)),
            await ctx.submit(page.options(delay=60).call(2), cancel="cascade"),
            await ctx.submit(page.call(3), cancel="cascade"),
        ]
        await ctx.emit("children", [child.id for child in children])
        await asyncio.sleep(60)
        return []

    async with lane.open(workers=1), asyncio.timeout(SOON):
        job = await crawl.submit()
        async with aclosing(job.events()) as events:
            left, waiting, running = map(page.job, json.loads((await anext(events)).data))
        while (await running.record()).state is not State.RUNNING:
            await asyncio.sleep(0.01)
        await job.cancel()
        for child in (waiting, running):
            with pytest.raises(JobCancelled):
                await child.result()
        assert (await left.record()).state is State.QUEUED


@pytest.mark.row("R24")
async def test_every_dead_letter_submits_the_dead_letter_task() -> None:
    shop = Shop(hook={"queue": "alarms"})
    async with harness(shop.lane) as t:
        await t.client.submit(
            shop.fail.options(user="u1", on_failure=shop.fail.call("again")).call("first"), trace=TRACE
        )
        await shop.write.submit(1)
        await t.drain()
        assert [(letter.task, letter.user, letter.error) for letter in shop.letters] == [
            ("fail", "u1", "ValueError: first"), ("fail", "u1", "ValueError: again"),
        ]  # fmt: skip
        alarms = await t.records(shop.alarm)
        assert [(record.spec.queue, record.spec.user, record.state) for record in alarms] == [
            ("alarms", None, State.FAILED), ("alarms", None, State.FAILED),
        ]  # fmt: skip
        assert alarms[0].spec.follow_ups == ()
        assert [record.spec.trace for record in alarms] == [TRACE, TRACE]


async def test_an_expired_job_is_a_dead_letter() -> None:
    shop = Shop(hook={})
    async with harness(shop.lane) as t:
        job = await shop.write.options(expires=5).submit(1)
        await t.advance(6)
        await t.drain()
        (letter,) = shop.letters
        assert (letter.id, letter.attempts, letter.error) == (job.id, 0, "")


def test_a_lane_has_one_dead_letter_task() -> None:
    shop = Shop(hook={})

    async def other(letter: FinishedJob) -> None: ...

    with pytest.raises(TaskDeclarationError, match=r"'other': this lane already has @lane.dead_letter: .*alarm"):
        shop.lane.dead_letter(other)


def test_a_dead_letter_task_takes_one_argument_and_no_limit_per_user(shop: Shop) -> None:
    async def nothing() -> None: ...
    async def two(letter: FinishedJob, more: int) -> None: ...
    async def one(letter: FinishedJob) -> None: ...

    for function in (nothing, two):
        with pytest.raises(TaskDeclarationError, match=r"takes one argument: `letter: FinishedJob`"):
            shop.lane.dead_letter(function)
    with pytest.raises(TaskDeclarationError, match="dead letters have no user"):
        shop.lane.dead_letter(limits=[ConcurrencyLimit(1, per="user")])(one)


async def test_jobs_of_a_schedule_use_the_dead_letter_task_declared_after_it(shop: Shop) -> None:
    shop.lane.schedule("daily", shop.fail.call("scheduled"), every=60)

    @shop.lane.dead_letter
    async def alarm(letter: FinishedJob) -> None:
        shop.letters.append(letter)

    async with harness(shop.lane) as t:
        await t.advance(61)
        await t.drain()
        assert [letter.error for letter in shop.letters] == ["ValueError: scheduled"]
