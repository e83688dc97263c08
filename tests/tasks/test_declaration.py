"""Declarations of tasks, queues and resources: invalid ones raise at once."""

import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from sidelane import (
    ConfigurationError,
    Context,
    Exponential,
    Fixed,
    LaneNotOpen,
    Queue,
    Retry,
    RetryLater,
    Sidelane,
    Use,
)
from sidelane.model.errors import TaskDeclarationError, UnknownQueue
from sidelane.tasks.task_options import TaskOptions


async def test_a_task_can_be_called_as_a_function(lane: Sidelane) -> None:
    @lane.task
    async def double(number: int) -> int:
        return 2 * number

    assert await double(21) == 42


def test_two_tasks_cannot_have_one_name(lane: Sidelane) -> None:
    @lane.task(name="answer")
    async def first() -> None: ...

    async def second() -> None: ...

    with pytest.raises(TaskDeclarationError, match=r"'answer' is taken by .*first, so .*second cannot have it"):
        lane.task(name="answer")(second)


def test_an_alias_cannot_be_the_name_of_another_task(lane: Sidelane) -> None:
    @lane.task(name="reply", aliases=["answer"])
    async def reply() -> None: ...

    async def answer() -> None: ...

    with pytest.raises(TaskDeclarationError, match="'answer' is taken"):
        lane.task(answer)


def test_a_task_needs_a_declared_queue(lane: Sidelane) -> None:
    async def task() -> None: ...

    with pytest.raises(UnknownQueue, match="needs queue 'typo'; this lane declares chat, gpu, default"):
        lane.task(queue="typo")(task)


def test_parameters_that_cannot_be_passed_by_name_are_rejected(lane: Sidelane) -> None:
    async def task(*numbers: int) -> None: ...

    with pytest.raises(TaskDeclarationError, match=r"'\*numbers: int' cannot be passed by name"):
        lane.task(task)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"timeout": 0}, "timeout=0: this is a number of seconds above 0"),
        ({"deadline": -1}, "deadline=-1"),
        ({"max_log_size": -1}, "max_log_size=-1: this is a whole number of bytes, not below 0"),
        ({"max_log_size": 1.5}, "max_log_size=1.5"),
        ({"keep_logs": "INFO"}, "keep_logs='INFO': this is True or False"),
        ({"max_worker_losses": -1}, "max_worker_losses=-1: this is a number, not below 0"),
        ({"priority": 5000}, "priorities go from -1000 to 1000"),
        ({"version": 0}, "versions go from 1 to 999"),
        ({"retry": 3}, r"retry=3: this is Retry\(attempts=…\)"),
    ],
)
def test_the_error_of_an_invalid_policy_names_the_task(lane: Sidelane, policy: TaskOptions, words: str) -> None:
    async def task() -> None: ...

    with pytest.raises(TaskDeclarationError, match=f"Task 'task': .*{words}"):
        lane.task(**policy)(task)


def test_a_job_has_the_log_size_of_its_task(lane: Sidelane) -> None:
    @lane.task(max_log_size=1000)
    async def talk() -> None: ...

    @lane.task
    async def plain() -> None: ...

    assert (talk.call().spec().max_log_size, plain.call().spec().max_log_size) == (1000, 16 * 2**20)


def test_retry_needs_at_least_one_attempt() -> None:
    with pytest.raises(ConfigurationError, match="at least one attempt"):
        Retry(attempts=0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Fixed(-1), r"Fixed\(-1\): this is a number of seconds, not below 0"),
        (lambda: Fixed(math.inf), r"Fixed\(inf\)"),
        (lambda: Exponential(first=-1), "first=-1"),
        (lambda: Exponential(max_delay=math.nan), "max_delay=nan"),
        (lambda: Exponential(factor=0.5), r"factor=0.5\): this is a number, at least 1"),
        (lambda: Exponential(jitter=3), r"jitter=3\): this is a number from 0 to 2"),
        (lambda: Exponential(jitter=-0.1), "jitter=-0.1"),
        (lambda: Retry(attempts="3"), "attempts='3'"),  # type: ignore[arg-type]
        (lambda: Retry(only=(ValueError, "KeyError")), "only=.*a tuple of exceptions"),  # type: ignore[arg-type]
        (lambda: Retry(backoff=0.5), r"Retry\(backoff=0\.5\): this is Fixed\(…\), Exponential"),  # type: ignore[arg-type]
        (lambda: Retry(never=ValueError), "never=.*a tuple of exceptions"),  # type: ignore[arg-type]
        (lambda: RetryLater(-1), r"RetryLater\(-1\): .* not below 0"),
        (lambda: RetryLater(math.nan), r"RetryLater\(nan\)"),
    ],
)
def test_an_invalid_backoff_or_choice_of_errors_raises_when_it_is_declared(
    make: Callable[[], object], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make()


def test_a_queue_needs_a_valid_name_and_a_concurrency() -> None:
    with pytest.raises(ConfigurationError, match="a name is 1 to 64"):
        Queue("chat queue")
    with pytest.raises(ConfigurationError, match="at least 1 job at a time"):
        Queue("chat", worker_concurrency=0)


def test_two_queues_of_one_name_are_rejected() -> None:
    with pytest.raises(ConfigurationError, match="same name"):
        Sidelane(queues=[Queue("chat"), Queue("chat")])


def test_queues_are_declared_and_not_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^queues=\['chat'\]: .* write Queue\('chat'\)\.$"):
        Sidelane(queues=["chat"])  # type: ignore[list-item]
    for wrong in ("chat", Queue("chat"), {"chat": 1}):
        with pytest.raises(ConfigurationError, match=r"this is a list of Queue\(…\)\.$"):
            Sidelane(queues=wrong)  # type: ignore[arg-type]


def test_a_task_names_its_queue_and_does_not_declare_it(lane: Sidelane) -> None:
    async def task() -> None: ...

    with pytest.raises(TaskDeclarationError, match=r"^Task 'task': queue=Queue\('chat'\): .* write 'chat'\.$"):
        lane.task(queue=Queue("chat"))(task)  # type: ignore[call-overload]
    with pytest.raises(TaskDeclarationError, match="queue=None: this takes the name of a queue"):
        lane.task(queue=None)(task)  # type: ignore[call-overload]


async def test_a_worker_names_its_queues(make_lane: Any) -> None:
    lane: Sidelane = make_lane()
    async with lane.open():
        with pytest.raises(ConfigurationError, match=r"queues=Queue\('default'\): .* write 'default'"):
            lane.worker(queues={Queue("default"): 1})  # type: ignore[dict-item]
        with pytest.raises(ConfigurationError, match=r"queues=\['default'\]: this is a mapping of names to slots"):
            lane.worker(queues=["default"])  # type: ignore[arg-type]


def test_a_process_resource_cannot_use_one_of_an_attempt(lane: Sidelane) -> None:
    @lane.resource(scope="attempt")
    async def session() -> AsyncIterator[str]:
        yield "session"

    with pytest.raises(TaskDeclarationError, match="cannot use 'session'"):

        @lane.resource
        async def client(session: str = Use(session)) -> AsyncIterator[str]:
            yield "client"

    with pytest.raises(TaskDeclarationError, match="cannot use Context"):

        @lane.resource
        async def other(ctx: Context = Use(Context)) -> AsyncIterator[str]:
            yield "other"


def test_use_takes_only_resources_and_context() -> None:
    with pytest.raises(TaskDeclarationError, match=r"takes a resource declared by @lane.resource"):
        Use(lambda: None)  # type: ignore[arg-type]


def test_an_unresolvable_annotation_raises_when_the_lane_loads(lane: Sidelane) -> None:
    async def task(question: "Missing") -> None: ...  # type: ignore[name-defined]  # noqa: F821 - missing on purpose

    lane.task(task)
    with pytest.raises(TaskDeclarationError, match=r"cannot be resolved.*Missing"):
        lane.load()


def test_a_result_type_without_a_json_form_raises_when_the_lane_loads(lane: Sidelane) -> None:
    class Opaque: ...

    async def task() -> Opaque:
        return Opaque()

    lane.task(task)
    with pytest.raises(TaskDeclarationError, match="its result has no JSON form"):
        lane.load()


def test_the_error_of_a_parameter_without_a_json_form_names_it_in_one_line(lane: Sidelane) -> None:
    class Client: ...

    async def task(question: str, client: Client) -> None: ...

    lane.task(task)
    with pytest.raises(
        TaskDeclarationError,
        match=r"its parameter 'client' has no JSON form: .*Client.*; a client or .* by Use\(…\)\.$",
    ):
        lane.load()


def test_an_async_iterator_without_yield_raises_when_the_lane_loads(lane: Sidelane) -> None:
    @lane.task
    async def answer(question: str) -> AsyncIterator[str]: ...  # type: ignore[empty-body]  # that is the point

    with pytest.raises(
        TaskDeclarationError, match=r"'.*answer': it is declared to return an asynchronous iterator, and has no `yield`"
    ):
        lane.load()


async def test_the_error_of_a_closed_lane_says_how_to_open_it(lane: Sidelane) -> None:
    @lane.task
    async def task() -> None: ...

    with pytest.raises(LaneNotOpen, match=r"async with lane\.open\(\)"):
        await task.submit()


async def test_awaiting_open_raises_and_says_to_use_async_with(lane: Sidelane) -> None:
    with pytest.raises(TypeError, match=r"write `async with lane\.open\(\):`"):
        await lane.open()


async def request_middleware(request: object, call_next: object) -> None: ...


async def two_arguments(ctx: Context, more: object) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("wrapper", [request_middleware, two_arguments, lambda ctx: None])
def test_middleware_of_another_form_raises_and_shows_the_right_one(lane: Sidelane, wrapper: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=r"async def wrap\(ctx\): yield`; one over \(request, call_next\) is for"
    ):
        lane.middleware(wrapper)


async def test_a_lane_can_be_open_once_per_process(lane: Sidelane) -> None:
    async with lane.open():
        with pytest.raises(ConfigurationError, match="already open"):
            async with lane.open():
                pass
