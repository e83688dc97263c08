"""Limits of tasks and queues: names, keys, and invalid declarations."""

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel

from sidelane import (
    PREVIOUS_RESULT,
    ArgumentsError,
    ConcurrencyLimit,
    ConfigurationError,
    Context,
    Fixed,
    LimitReached,
    Queue,
    QueueFull,
    RateLimit,
    Retry,
    Sidelane,
    State,
    Use,
)
from sidelane.model.errors import TaskDeclarationError
from sidelane.model.limit import NAME, Limit
from sidelane.tasks.task_options import TaskOptions
from sidelane.testing import harness

LIMITED = Queue("limited", max_queued=5, limits=[RateLimit("100/minute", per="queue"), ConcurrencyLimit(9, per="task")])


class Question(BaseModel):
    session: str
    text: str = ""


def by_session(question: Question) -> str:
    return question.session


@pytest.fixture
def lane() -> Sidelane:
    return Sidelane(queues=[LIMITED])


def limits_of(lane: Sidelane, user: str | None = None, **fields: Any) -> list[Limit]:
    """Return the limits of a call of a task with these fields."""

    @lane.task(**TaskOptions(**fields))  # type: ignore[typeddict-item]
    async def answer(question: Question, times: int = 1) -> None: ...

    options: Any = {} if user is None else {"user": user}
    return list(answer.options(**options).call(Question(session="s1"), times=7).spec().limits)


def test_the_key_is_the_user_task_queue_or_result_of_a_function(lane: Sidelane) -> None:
    limits = [
        ConcurrencyLimit(1, per="user"),
        ConcurrencyLimit(2, per="task", on_limit="wait"),
        ConcurrencyLimit(3, per="queue", on_limit="replace"),
        RateLimit("10/minute", per=by_session),
        RateLimit("5/s", per=lambda question, times: times, burst=2, on_limit="wait"),
    ]
    assert limits_of(lane, "u7", limits=limits) == [
        Limit(name="answer-per-user", key="u7", max=1),
        Limit(name="answer-per-task", key="answer", max=2, on_limit="wait"),
        Limit(name="answer-per-queue", key="default", max=3, on_limit="replace"),
        Limit(name="answer-per-by_session", key="s1", max=10, window=60.0, burst=10),
        Limit(name="answer-per-key", key="7", max=5, window=1.0, burst=2, on_limit="wait"),
    ]


async def test_a_limit_refuses_in_the_words_of_its_message(lane: Sidelane) -> None:
    message = "이미 처리 중인 요청이 있습니다. 완료 후 다시 시도해주세요."

    @lane.task(limits=[ConcurrencyLimit(1, per="task", message=message)])
    async def answer() -> None: ...

    async with harness(lane):
        await answer.submit()
        with pytest.raises(LimitReached) as refused:
            await answer.submit()
        assert str(refused.value) == refused.value.problem().detail == message
        assert refused.value.reached[0].limit.message == message


def test_calls_have_their_queues_limits_and_max_queued(lane: Sidelane) -> None:
    limits = limits_of(lane, queue="limited", limits=[ConcurrencyLimit(1, per="task", name="model")])
    assert [(limit.name, limit.key) for limit in limits] == [
        ("model", "answer"), ("queue-limited-per-queue", "limited"), ("queue-limited-per-task", "answer"),
    ]  # fmt: skip
    assert lane.registry.tasks["answer"].call(Question(session="s")).spec().max_queued == 5


def test_default_names_of_several_limits_get_a_number(lane: Sidelane) -> None:
    rates = [
        RateLimit("5/s", per="task"),
        RateLimit("100/hour", per="task"),
        RateLimit("9/day", per="task", name="answer-per-task-2"),
    ]
    assert [limit.name for limit in limits_of(lane, limits=rates)] == [
        "answer-per-task", "answer-per-task-3", "answer-per-task-2",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["shop:answer", "shop answer", "a" * 70, "답하기"])
def test_default_limit_names_are_unique_per_task(lane: Sidelane, name: str) -> None:
    (limit,) = limits_of(lane, limits=[ConcurrencyLimit(1, per="task")], name=name)
    assert NAME.fullmatch(limit.name)
    (other,) = limits_of(lane, limits=[ConcurrencyLimit(1, per="task")], name=name.replace(":", "-") + "b")
    assert other.name != limit.name


def test_a_key_function_gets_as_many_arguments_as_it_has_parameters(lane: Sidelane) -> None:
    functions: list[Callable[..., Any]] = [
        lambda: "all",
        lambda question: question.session,
        lambda *values: len(values),
        lambda question, times, more="-": f"{times}{more}",
        partial(lambda prefix, question: prefix + question.session, "p-"),
    ]
    limits = [ConcurrencyLimit(1, per=function) for function in functions]
    assert [limit.key for limit in limits_of(lane, limits=limits)] == ["all", "s1", "2", "7-", "p-s1"]


def test_a_key_function_does_not_get_dependencies(lane: Sidelane) -> None:
    @lane.task(limits=[ConcurrencyLimit(1, per=lambda *values: len(values))])
    async def answer(question: str, ctx: Context = Use(Context)) -> None: ...

    assert answer.call("Why?").spec().limits[0].key == "1"


def test_a_long_or_unstorable_key_is_replaced_by_its_digest(lane: Sidelane) -> None:
    keys = [limits_of(lane, user, name=f"t{number}", limits=[ConcurrencyLimit(1, per="user", name="x")])[0].key
            for number, user in enumerate(["k" * 200, "k" * 201, "k" * 202, "\ud800"])]  # fmt: skip
    assert keys[0] == "k" * 200
    assert len(set(keys)) == 4
    (computed,) = limits_of(lane, name="computed", limits=[ConcurrencyLimit(1, per=lambda: "k" * 201, name="x")])
    assert computed.key == keys[1]
    assert all(len(key) <= 200 and key.isascii() for key in keys)


def test_rates_are_parsed_into_window_and_burst(lane: Sidelane) -> None:
    rates = ["10/minute", "100/15 minutes", "5/s", "3/2h", "1/day"]
    limits = limits_of(lane, limits=[RateLimit(rate, per="task") for rate in rates])
    assert [(limit.max, limit.window) for limit in limits] == [(10, 60), (100, 900), (5, 1), (3, 7200), (1, 86_400)]
    assert [limit.burst for limit in limits] == [10, 100, 5, 3, 1]
    assert limits_of(lane, name="b", limits=[RateLimit("10/minute", per="task", burst=2)])[0].burst == 2


def test_a_limit_per_user_needs_a_user(lane: Sidelane) -> None:
    with pytest.raises(
        ArgumentsError, match=r"answer: limit key missing: .*'answer-per-user' is per user.*options\(user"
    ):
        limits_of(lane, limits=[ConcurrencyLimit(1, per="user")])


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda: None, "returned None"),
        (lambda: True, "returned bool"),
        (lambda: 1.5, "returned float"),
        (lambda question: question.nothing, "raised AttributeError"),
    ],
)
def test_a_key_function_without_a_key_raises(lane: Sidelane, function: Callable[..., Any], words: str) -> None:
    with pytest.raises(ArgumentsError, match=f"answer: limit key missing: .*'answer-per-key' {words}"):
        limits_of(lane, limits=[ConcurrencyLimit(1, per=function)])


def test_a_key_cannot_come_from_a_placeholder(lane: Sidelane) -> None:
    @lane.task
    async def ask() -> str:
        return ""

    @lane.task(
        limits=[
            ConcurrencyLimit(1, per=lambda channel, text: channel),
            ConcurrencyLimit(2, per=lambda channel: channel),
        ]
    )
    async def publish(channel: str, text: str) -> None: ...

    with pytest.raises(
        ArgumentsError, match="raised TypeError, because not all its arguments are known before it starts"
    ):
        ask.options(then=publish.call("c1", PREVIOUS_RESULT)).call().spec()


async def asynchronous(question: Question) -> str:
    return question.session


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (ConcurrencyLimit(1, per="user"), "this is a list of"),
        (["1/s"], "this is a list of"),
        ([ConcurrencyLimit(0, per="user")], r"ConcurrencyLimit\(0\): this is a number of jobs, at least 1"),
        ([ConcurrencyLimit(True, per="user")], r"ConcurrencyLimit\(True\)"),
        ([ConcurrencyLimit(1, per="everybody")], "this is 'user', 'task', 'queue' or a function"),  # type: ignore[arg-type]
        ([ConcurrencyLimit(1, per="user", on_limit="drop")], "this is 'reject', 'wait' or 'replace'"),  # type: ignore[arg-type]
        ([ConcurrencyLimit(1, per="user", name="a b")], "a name is 1 to 64"),
        ([RateLimit("often", per="user")], "write a number and a time"),
        ([RateLimit("0/s", per="user")], "write a number and a time"),
        ([RateLimit("5/s", per="user", burst=0)], "at least 1"),
        ([RateLimit("5/s", per="user", on_limit="replace")], "this is 'reject' or 'wait'"),  # type: ignore[arg-type]
        (
            [RateLimit("5/s", per="user", name="x"), ConcurrencyLimit(5, per="user", name="x")],
            "two of its limits are named 'x'",
        ),
        ([ConcurrencyLimit(1, per=lambda a, b, c: a)], "takes 3 arguments, and the task has 2"),
        ([ConcurrencyLimit(1, per=lambda question, *, times: times)], "by position, not by name"),
        ([ConcurrencyLimit(1, per=asynchronous)], "is asynchronous"),  # type: ignore[arg-type]
        ([ConcurrencyLimit(1, per=dict)], "cannot be read; write a lambda"),  # type: ignore[arg-type]
    ],
)
def test_the_error_of_an_invalid_limit_names_the_task(lane: Sidelane, limits: Any, words: str) -> None:
    with pytest.raises(TaskDeclarationError, match=f"Task 'answer': .*{words}"):
        limits_of(lane, limits=limits)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_queued": 0}, r"Queue\('chat', max_queued=0\): at least 1"),
        (
            {"target_wait": 0},
            r"Queue\('chat', target_wait=0\): a target is a number of seconds or a timedelta, above 0",
        ),
        ({"target_wait": "10s"}, "a target is a number of seconds"),
        ({"target_wait": True}, "a target is a number of seconds"),
        ({"weight": 0}, "a weight is a whole number, 1 to 1000"),
        ({"weight": 1.5}, "a weight is a whole number, 1 to 1000"),
        ({"limits": [RateLimit("often", per="user")]}, "Queue 'chat': Rate.*write a number and a time"),
        ({"limits": RateLimit("5/s", per="user")}, "Queue 'chat': .*this is a list of"),
    ],
)
def test_the_error_of_an_invalid_queue_names_the_queue(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Queue("chat", **fields)


def test_limits_of_one_name_are_all_slots_or_the_same_rate(lane: Sidelane) -> None:
    def declare(name: str, limit: ConcurrencyLimit | RateLimit) -> None:
        async def task() -> None: ...

        lane.task(name=name, limits=[limit])(task)

    declare("a", ConcurrencyLimit(3, per="queue", name="model"))
    declare("b", ConcurrencyLimit(2, per="queue", name="model", on_limit="wait"))
    declare("c", RateLimit("5/s", per="queue", name="calls"))
    declare("d", RateLimit("5/s", per="task", name="calls", on_limit="wait"))
    others = (
        RateLimit("5/s", per="queue", name="model"), RateLimit("6/s", per="queue", name="calls"),
        RateLimit("5/s", per="queue", name="calls", burst=2),
    )  # fmt: skip
    for limit in others:
        with pytest.raises(TaskDeclarationError, match=f"Task 'e': its limit '{limit.name}' is .* and elsewhere"):
            declare("e", limit)


def test_a_task_and_its_queue_may_share_slots() -> None:
    lane = Sidelane(queues=[Queue("gpu", limits=[ConcurrencyLimit(4, per="queue", name="model", on_limit="wait")])])
    limits = limits_of(lane, queue="gpu", limits=[ConcurrencyLimit(2, per="queue", name="model")])
    assert [(limit.id, limit.max) for limit in limits] == [("model/gpu", 2), ("model/gpu", 4)]


def test_a_key_function_of_a_queue_must_fit_each_of_its_tasks() -> None:
    lane = Sidelane(queues=[Queue("chat", limits=[ConcurrencyLimit(1, per=by_session)])])

    async def tick() -> None: ...

    with pytest.raises(TaskDeclarationError, match=r"Task 'tick': .*by_session' takes 1 arguments, and the task has 0"):
        lane.task(queue="chat")(tick)


async def test_limit_reached_names_the_limit_and_retry_after(lane: Sidelane) -> None:
    @lane.task(limits=[ConcurrencyLimit(1, per="user"), RateLimit("10/minute", per=by_session, burst=2)])
    async def answer(question: Question) -> None: ...

    async with harness(lane) as t:
        first = await answer.options(user="u1").submit(Question(session="s"))
        with pytest.raises(LimitReached, match="'answer-per-user' is reached: 1 job is unfinished") as refused:
            await answer.options(user="u1").submit(Question(session="s"))
        assert [each.limit.name for each in refused.value.reached] == ["answer-per-user"]
        await answer.options(user="u2").submit(Question(session="s"))
        with pytest.raises(LimitReached, match="'answer-per-by_session' admits 10 per 60 s") as refused:
            await answer.options(user="u3").submit(Question(session="s"))
        assert refused.value.retry_after == pytest.approx(6.0)
        await t.drain()
        assert (await first.record()).state is State.SUCCEEDED
        await t.advance(6.1)
        assert (await answer.options(user="u1").submit(Question(session="s"))).created


async def test_a_repeated_submit_returns_its_job_without_checking_limits(lane: Sidelane) -> None:
    @lane.task(queue="limited", limits=[ConcurrencyLimit(1, per="user"), RateLimit("1/hour", per="user")])
    async def answer(question: str) -> None: ...

    async with harness(lane):
        for options in ({"id": "mine"}, {"unique": "one"}):
            call = answer.options(user=f"u-{options}", **options).call("Why?")  # type: ignore[arg-type]
            assert (await lane.submit(call)).created
            assert not (await lane.submit(call)).created


async def test_a_limit_that_waits_runs_the_others_in_turn(lane: Sidelane) -> None:
    running, most = 0, 0

    @lane.task(limits=[ConcurrencyLimit(2, per="task", on_limit="wait")])
    async def call_the_model() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    async with harness(lane) as t:
        for _ in range(7):
            await call_the_model.submit()
        assert await t.drain() == 7
        assert most == 2


async def test_a_limit_that_replaces_cancels_the_older_job(lane: Sidelane) -> None:
    @lane.task(limits=[ConcurrencyLimit(1, per="user", on_limit="replace")])
    async def search(words: str) -> str:
        return words

    async with harness(lane) as t:
        older = await search.options(user="u1").submit("sidel")
        newer = await search.options(user="u1").submit("sidelane")
        other = await search.options(user="u2").submit("else")
        await t.drain()
        assert (await older.record()).state is State.CANCELLED
        assert (await newer.result(), await other.result()) == ("sidelane", "else")


async def test_a_rate_that_waits_delays_the_starts(lane: Sidelane) -> None:
    @lane.task(limits=[RateLimit("6/minute", per="task", burst=1, on_limit="wait")])
    async def call_the_model() -> None: ...

    async with harness(lane) as t:
        for _ in range(3):
            await call_the_model.submit()
        assert await t.drain() == 1
        for _ in range(2):
            await t.advance(9)
            assert await t.drain() == 0
            await t.advance(1.1)
            assert await t.drain() == 1


async def test_a_full_queue_rejects_submits_and_accepts_follow_ups(lane: Sidelane) -> None:
    @lane.task(queue="limited")
    async def publish(text: str) -> None: ...

    @lane.task
    async def write() -> str:
        return "text"

    async with harness(lane) as t:
        for _ in range(5):
            await publish.submit("x")
        with pytest.raises(QueueFull, match="The queue 'limited' is full with 5 waiting jobs") as refused:
            await publish.submit("x")
        assert refused.value.retry_after is not None
        assert refused.value.retry_after > 0
        await t.client.store.pause("limited")
        await write.options(then=publish.call(PREVIOUS_RESULT)).submit()
        await t.drain()
        assert len(await t.records(publish)) == 6


async def test_limits_hold_over_all_workers_and_leave_no_job_waiting(make_lane: Callable[..., Sidelane]) -> None:
    lane = make_lane()
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()

    @lane.task(
        retry=Retry(attempts=2, backoff=Fixed(0)),
        limits=[ConcurrencyLimit(3, per="task", on_limit="wait"), ConcurrencyLimit(1, per="user", on_limit="wait")],
    )
    async def work(number: int, ctx: Context = Use(Context)) -> int:
        for name in ("all", str(ctx.user)):
            running[name] += 1
            most[name] = max(most[name], running[name])
        await asyncio.sleep(0.01)
        for name in ("all", str(ctx.user)):
            running[name] -= 1
        if number % 5 == 0 and ctx.attempt == 1:
            raise ConnectionError
        return number

    async with lane.open(workers=2), asyncio.timeout(30):
        jobs = [await work.options(user=f"u{number % 7}").submit(number) for number in range(70)]
        assert [await job.result() for job in jobs] == list(range(70))
        assert await lane.client.store.limits() == []
    assert most.pop("all") == 3
    assert set(most.values()) == {1}
