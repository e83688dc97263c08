"""Blocked event loop: which code blocks it, which job that code belongs to, and which other jobs wait."""

import asyncio
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sidelane.model.job import Lease
from sidelane.tasks.context import TaskChannel
from sidelane.worker.child_stack import ChildStacks
from sidelane.worker.stack import frame_of, frames_of

ADVICE = "Declare such a task with `def`, which runs in a thread, or with `process=True`"

MAX_NAMED = 5
"""Jobs that a message names. More are only counted."""


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job that runs in an asyncio task, whose code calls its function, in a thread if the channel names one, or in a child."""

    lease: Lease
    task: str
    body: "asyncio.Task[Any]"
    channel: TaskChannel
    child: ChildStacks | None


@dataclass(frozen=True, slots=True)
class BlockedLoop:
    """What a thread does that blocks its event loop. `blocker` is the job whose frame is in the stack, if any is."""

    stack: str
    blocker: RunningJob | None
    others: Sequence[RunningJob]

    @classmethod
    def inspect(cls, thread: int | None, jobs: Sequence[RunningJob]) -> "BlockedLoop":
        """Look at the stack of a thread, which another thread may do at any time."""
        frames = frames_of(thread)
        blocker = next((job for job in jobs if frame_of(job.body.get_coro()) in frames), None)
        stack = "".join(traceback.format_stack(frames[0])) if frames else ""
        return cls(stack, blocker, [job for job in jobs if job is not blocker])

    def __str__(self) -> str:
        names = ", ".join(f"{job.lease.job_id} ({job.task})" for job in self.others[:MAX_NAMED])
        more = f" and {len(self.others) - MAX_NAMED} more" if len(self.others) > MAX_NAMED else ""
        waiting = f"; these wait: {names}{more}" if names else ""
        if self.blocker is None:
            return (
                f"code outside of the jobs' own coroutines, e.g. in a task they started, blocks it{waiting}. {ADVICE}"
            )
        return f"job {self.blocker.lease.job_id} ({self.blocker.task}) blocks it{waiting}. {ADVICE}"
