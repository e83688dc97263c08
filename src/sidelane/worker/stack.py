"""Stacks of running attempts, read by another thread: of a thread, of a suspended coroutine, or of what blocks the event loop."""

import asyncio
import concurrent.futures
import gc
import inspect
import linecache
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context as Variables  # in this project, a context is that of an attempt
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path
from traceback import FrameSummary, StackSummary
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType
from typing import Any, TypeVar

from sidelane.model.printable import printable_line
from sidelane.model.stack import MAX_STACK, Stack
from sidelane.tasks.context import Context, TaskChannel, current_context
from sidelane.worker import executor

T = TypeVar("T")

RESPONSE_TIMEOUT = 0.5
"""Seconds after which an event loop that does not respond counts as blocked."""

MAX_FRAMES = 100
"""Frames of one stack. Of a deeper one, the innermost are kept."""

MAX_TASKS = 10
"""Asyncio tasks of one attempt whose stacks are shown, beside its own."""

MAX_TEXT = 300
"""Characters of a name or a line of source."""

MACHINERY = (
    f"{Path(__file__).parents[1]}{os.sep}",
    *(f"{path}{os.sep}" for package in (asyncio, concurrent.futures) for path in package.__path__),
    threading.__file__,
)
"""Folders and files of the code that runs tasks."""

SUSPENDABLE = (CoroutineType, GeneratorType, AsyncGeneratorType)

Position = tuple[CodeType, int]
"""The code of a frame, and its line. Unlike the frame, a position keeps no variables alive and does not change."""


@dataclass(frozen=True, slots=True)
class Section:
    """One stack of an answer. `of` follows the word "Stack"."""

    of: str
    positions: Sequence[Position]  # the outermost first


class LoopStacks:
    """Reads what the attempts of one event loop do, in any thread but the loop's. `thread` identifies that of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        self._loop = loop
        self._thread = thread

    def read(self, body: "asyncio.Task[Any]", channel: TaskChannel) -> Stack:
        """Return what an attempt does. `body` is the asyncio task that runs it. Blocks for up to `RESPONSE_TIMEOUT`."""
        thread = channel.thread
        if thread is not None:
            positions = [*map(_position, reversed(frames_of(thread)))]
            if channel.thread == thread:  # else the function has returned, and the thread may run another attempt
                return Stack("runs in a thread", _text([Section("", positions)]))
        sections = self._call_on_loop(lambda: [_suspended(body), *_further_tasks(body, self._loop)])
        if sections is not None:
            return Stack("waits on the event loop", _text(sections))
        frames = frames_of(self._thread)[::-1]
        blocking = [*map(_position, dropwhile(lambda frame: not frame.f_code.co_flags & inspect.CO_COROUTINE, frames))]
        if any(frame is frame_of(body.get_coro()) for frame in frames):
            return Stack("blocks the event loop", _text([Section("", blocking)]))
        blocker = Section(" of the code that blocks the event loop", blocking or [*map(_position, frames)])
        return Stack("waits, because other code blocks the event loop", _text([_suspended(body), blocker]))

    def _call_on_loop(self, function: Callable[[], T]) -> T | None:
        """Call a function between two steps of the loop, if nothing blocks it. Otherwise, return None."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def call() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except Exception as error:  # noqa: BLE001 - it is raised in the other thread
                    future.set_exception(error)

        self._loop.call_soon_threadsafe(call)
        try:
            return future.result(RESPONSE_TIMEOUT)
        except TimeoutError:
            future.cancel()
            return None


def frames_of(thread: int | None) -> list[FrameType]:
    """Return a thread's frames, the innermost first."""
    frame = sys._current_frames().get(thread or 0)  # noqa: SLF001 - documented, for debuggers such as this
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


def _suspended(task: "asyncio.Task[Any]", of: str = "") -> Section:
    """Return the stack of an asyncio task that waits: its coroutine, what that awaits, and so on."""
    return Section(of, [*map(_position, _awaiting_frames(task.get_coro()))])


def _awaiting_frames(awaited: object) -> Iterator[FrameType]:
    while awaited is not None:
        frame = frame_of(awaited)
        if frame is not None:
            yield frame
        awaited = _yielded_by(frame) or _awaited_by(awaited)


def frame_of(suspendable: object) -> FrameType | None:
    """Return the frame of a coroutine or generator, or None if it has ended or is something else."""
    match suspendable:
        case CoroutineType():
            return suspendable.cr_frame
        case GeneratorType():
            return suspendable.gi_frame
        case AsyncGeneratorType():
            return suspendable.ag_frame
        case _:
            return None


def _awaited_by(awaited: object) -> object:
    """Return what something that is awaited waits for in turn, or None if that is a future or unknown.

    The objects that step a coroutine or an async generator show it to the garbage collector alone.
    """
    match awaited:
        case CoroutineType():
            return awaited.cr_await
        case GeneratorType():
            return awaited.gi_yieldfrom
        case AsyncGeneratorType():
            return awaited.ag_await
        case _:
            return next((each for each in gc.get_referents(awaited) if isinstance(each, SUSPENDABLE)), None)


def _yielded_by(frame: FrameType | None) -> object:
    """Return the async generator that has yielded a value that the executor handles in this frame, if this is such a frame."""
    if frame is None or frame.f_code.co_filename != executor.__file__:
        return None
    items = frame.f_locals.get("items")
    return items if isinstance(items, AsyncGeneratorType) and not items.ag_running else None


def _further_tasks(body: "asyncio.Task[Any]", loop: asyncio.AbstractEventLoop) -> list[Section]:
    """Return the stacks of the other asyncio tasks that an attempt has started, e.g. of a task group. They have its context."""
    context = _context_of(body)
    started = [
        _suspended(task, f" of the asyncio task {printable_line(task.get_name()[:MAX_TEXT])!r} that it started")
        for task in asyncio.all_tasks(loop)
        if task is not body and context is not None and _context_of(task) is context
    ]
    users = [section for section in started if not all(map(_is_machinery, section.positions))]
    return sorted(users, key=lambda section: section.of)[:MAX_TASKS]


def _context_of(task: "asyncio.Task[Any]") -> Context | None:
    """Return the `Context` of the attempt to which a task belongs. `Task.get_context` is new in Python 3.12."""
    variables = next((each for each in gc.get_referents(task) if isinstance(each, Variables)), None)
    return None if variables is None else variables.get(current_context)


def _position(frame: FrameType) -> Position:
    return frame.f_code, frame.f_lineno or frame.f_code.co_firstlineno


def _is_machinery(position: Position) -> bool:
    return position[0].co_filename.startswith(MACHINERY)


def _text(sections: Sequence[Section]) -> str:
    """Return tracebacks, one below the other. Sections that do not fit are left out, except the first, which is cut."""
    first, *others = map(_traceback, sections)
    text = _last_lines(first, MAX_STACK)
    for each in others:
        if len(f"{text}\n{each}".encode()) <= MAX_STACK:
            text = f"{text}\n{each}"
    return text


def _traceback(section: Section) -> str:
    """Return a stack as Python prints tracebacks. The code that runs tasks is left out above the code of the task."""
    positions = [*dropwhile(_is_machinery, section.positions)] or section.positions
    frames = [_summary(code.co_filename, line, code.co_name) for code, line in positions[-MAX_FRAMES:]]
    missing = len(positions) - len(frames)
    more = f"  [{missing:,} outer frames are left out]\n" if missing else ""
    return f"Stack{section.of} (most recent call last):\n{more}{''.join(StackSummary.from_list(frames).format())}"


def _summary(file: str, line: int, name: str) -> FrameSummary:
    linecache.checkcache(file)
    source = linecache.getline(file, line).strip()
    texts = [printable_line(each[:MAX_TEXT]) for each in (file, name, source)]
    return FrameSummary(texts[0], line, texts[1], lookup_line=False, line=texts[2])


def _last_lines(text: str, size: int) -> str:
    """Return a text, or its last lines if it has more than `size` bytes."""
    if len(text.encode()) <= size:
        return text
    kept = text.encode()[-size:].decode(errors="ignore")
    return kept.partition("\n")[2]
