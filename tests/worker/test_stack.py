"""Stacks of running attempts: coroutines, generators, threads and child processes, as their worker answers."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

from sidelane import Sidelane
from sidelane.admin.stack import job_stack
from sidelane.model.event import NewEvent
from sidelane.model.shared_state import ValueChange
from sidelane.model.stack import MAX_STACK, STACK_SLOTS, Stack, StackRequest
from sidelane.tasks.context import TaskChannel
from sidelane.tasks.job import Job
from sidelane.tasks.task import Call
from sidelane.worker import child_stack, executor, stack_responder
from sidelane.worker.stack import LoopStacks
from sidelane.worker.task_channel import LoopChannel
from tests.system.waiting import until
from tests.worker import stack_tasks as tasks


@pytest.fixture
async def lane(tmp_path: Path) -> AsyncIterator[Sidelane]:
    tasks.lane.configuration.settings.__dict__["store"] = f"sqlite:///{tmp_path / 'jobs.db'}"
    async with tasks.lane.open(workers=1):
        yield tasks.lane


@asynccontextmanager
async def waiting(lane: Sidelane, call: Call[Any]) -> AsyncIterator[Job[Any]]:
    """Run a job that waits, and cancel it afterwards."""
    job = await lane.submit(call)
    await pid_of(job)
    await until(lane.client.store.workers, "the worker has sent a heartbeat")
    yield job
    await job.cancel()


async def pid_of(job: Job[Any]) -> int:
    """Return the process of a job, as soon as it has arrived at where it waits."""
    async with aclosing(job.events()) as events:
        async for event in events:
            if event.name == tasks.ARRIVED:
                return int(event.data)
    raise AssertionError("no event had its process")


async def stack_of(lane: Sidelane, call: Call[Any]) -> Stack:
    async with waiting(lane, call) as job:
        found = await job_stack(lane.client, job.id)
        while found.stack is not None and "emit" in functions(found.stack.text):  # the event came before that returned
            found = await job_stack(lane.client, job.id)
    assert found.stack is not None, found.notice
    return found.stack


def functions(text: str) -> list[str]:
    """Return the names of the functions of a traceback."""
    return [line.rpartition(", in ")[2] for line in text.splitlines() if line.startswith("  File ")]


async def test_coroutine_is_shown_from_the_task_down_to_where_it_waits(lane: Sidelane) -> None:
    found = await stack_of(lane, tasks.nested.call("a secret argument"))
    assert found.activity == "waits on the event loop"
    assert found.text.startswith("Stack (most recent call last):\n")
    assert functions(found.text) == ["nested", "first_call", "second_call", "wait"]
    assert "    await first_call()\n" in found.text
    assert "a secret argument" not in found.text


async def test_async_generator_is_shown_with_the_generators_that_it_reads(lane: Sidelane) -> None:
    found = await stack_of(lane, tasks.generator.call())
    assert functions(found.text) == ["generator", "source", "wait"]


async def test_asyncio_tasks_of_a_job_have_their_own_stacks(lane: Sidelane) -> None:
    async with waiting(lane, tasks.nested.call("of another job")):
        found = await stack_of(lane, tasks.task_group.call())
    own, *others = found.text.split("\nStack")
    assert functions(own)[0] == "task_group"
    assert [other.partition(" (most")[0] for other in others] == [
        " of the asyncio task 'one of two' that it started",
        " of the asyncio task 'two of two' that it started",
    ]
    assert [functions(other)[0] for other in others] == ["first_call", "second_call"]


@pytest.mark.parametrize("task", [tasks.in_thread, tasks.generator_in_thread])
async def test_function_is_shown_in_its_thread(lane: Sidelane, task: Any) -> None:
    found = await stack_of(lane, task.call())
    assert found.activity == "runs in a thread"
    assert functions(found.text)[:2] == [task.name, "wait_until_stopped"]


@pytest.mark.parametrize(
    ("call", "activity", "shown"),
    [
        (tasks.in_child.call(), "it runs in a thread", ["in_child", "wait_until_stopped"]),
        (tasks.coroutine_in_child.call(), "it waits on the event loop", ["coroutine_in_child", "first_call"]),
        (tasks.blocks_child.call(), "it blocks the event loop", ["blocks_child"]),
    ],
)
async def test_child_process_is_shown_even_if_its_event_loop_is_blocked(
    lane: Sidelane, call: Call[Any], activity: str, shown: list[str]
) -> None:
    found = await stack_of(lane, call)
    assert found.activity.startswith("runs in child process ")
    assert found.activity.endswith(activity)
    assert functions(found.text)[: len(shown)] == shown


async def test_child_process_that_cannot_answer_is_named_and_answers_later(
    lane: Sidelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_stack, "TIMEOUT", 0.2)
    async with waiting(lane, tasks.in_child.call()) as job:
        process = await pid_of(job)
        os.kill(process, signal.SIGSTOP)
        silent = await job_stack(lane.client, job.id)
        os.kill(process, signal.SIGCONT)
        monkeypatch.undo()
        answered = await job_stack(lane.client, job.id)
    assert silent.stack is not None
    assert silent.stack.activity.startswith(f"runs in child process {process}, which does not answer")
    assert answered.stack is not None
    assert functions(answered.stack.text)[0] == "in_child"


async def test_two_requests_at_once_are_both_answered_and_leave_nothing(lane: Sidelane) -> None:
    async with waiting(lane, tasks.nested.call("")) as first, waiting(lane, tasks.in_child.call()) as second:
        found = await asyncio.gather(
            job_stack(lane.client, first.id), job_stack(lane.client, second.id), job_stack(lane.client, second.id)
        )
    assert [each.stack is not None and functions(each.stack.text)[0] for each in found] == [
        "nested", "in_child", "in_child",
    ]  # fmt: skip
    assert await lane.client.store.read_values(STACK_SLOTS) == [None] * len(STACK_SLOTS)


async def test_request_of_a_requester_that_is_gone_is_deleted(lane: Sidelane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_responder, "REQUEST_EXPIRY", 0.5)
    store = lane.client.store
    request = StackRequest(job_id="of-no-worker-here", attempt=1)
    assert await store.set_value(ValueChange(name=STACK_SLOTS[0], text=request.dump(), replaces=None))

    async def deleted() -> bool:
        return await store.read_values(STACK_SLOTS[:1]) == [None]

    await until(deleted, "a worker deletes the request")


async def test_request_that_cannot_be_read_does_not_stop_the_answers(
    lane: Sidelane, caplog: pytest.LogCaptureFixture
) -> None:
    store = lane.client.store
    assert await store.set_value(ValueChange(name=STACK_SLOTS[0], text='"of another release"', replaces=None))
    assert functions((await stack_of(lane, tasks.nested.call(""))).text)[0] == "nested"
    assert "a request for a stack cannot be answered" in caplog.text


async def read(body: "asyncio.Task[Any]", channel: TaskChannel | None = None) -> Stack:
    """Read the stack of a task on this loop, in another thread, as workers do."""
    stacks = LoopStacks(asyncio.get_running_loop(), threading.get_ident())
    return await asyncio.to_thread(stacks.read, body, channel or NoThread())


class NoThread(LoopChannel):
    """Channel of a task on the loop, whose log never has space for another event."""

    def __init__(self) -> None:
        self.thread = None

    def put(self, event: NewEvent) -> Awaitable[None]:
        return asyncio.Event().wait()  # type: ignore[return-value]


async def read_coroutine(function: Callable[[], Any]) -> Stack:
    """Read the stack of a coroutine that waits."""
    body = asyncio.create_task(function())
    await asyncio.sleep(0)
    found = await read(body)
    body.cancel()
    await asyncio.wait([body])
    return found


async def test_async_generator_is_shown_at_its_yield_while_its_event_waits_for_space() -> None:
    from sidelane.tasks.context import Context

    async def tokens() -> AsyncIterator[str]:
        yield "a"

    context = Context(job_id="1", task="tokens", queue="default", attempt=1, channel=NoThread())
    found = await read_coroutine(lambda: executor._async_generator(tokens, {}, context, None))  # type: ignore[arg-type]
    assert functions(found.text) == ["tokens"]
    assert found.text.endswith('    yield "a"\n')


def renamed(function: Any, name: str, file: str) -> Any:
    """Return a function with another name and another file."""
    code: CodeType = function.__code__
    return FunctionType(code.replace(co_name=name, co_filename=file), function.__globals__)


async def test_names_with_control_characters_are_escaped() -> None:
    found = await read_coroutine(renamed(tasks.second_call, "\x1b[2J\nfake", "\x9b31m\r\n.py"))
    assert all(character.isprintable() or character == "\n" for character in found.text)
    assert r'File "\x9b31m\r\n.py"' in found.text
    assert r"in \x1b[2J\nfake" in found.text


async def test_deep_stack_keeps_its_innermost_frames_and_its_size_is_bounded() -> None:
    async def deep(left: int) -> None:
        await (other(left - 1) if left else tasks.second_call())

    async def other(left: int) -> None:
        await deep(left)

    found = await read_coroutine(lambda: deep(300))
    assert "outer frames are left out]" in found.text
    assert functions(found.text)[-2:] == ["second_call", "wait"]
    long = renamed(tasks.second_call, "ü" * 100_000, "é" * 100_000)
    assert len((await read_coroutine(long)).text.encode()) <= MAX_STACK


async def test_answer_with_the_most_escapes_fits_into_a_value() -> None:
    stack = Stack("waits", '\\"' * (MAX_STACK // 2))
    request = StackRequest(job_id="j" * 128, attempt=10**9, worker="w" * 200, stack=stack)
    assert StackRequest.load(ValueChange(name=STACK_SLOTS[0], text=request.dump(), replaces=None).text or "") == request
