"""A lane whose tasks follow one another, and record their arguments."""

from typing import Any

from pydantic import BaseModel

from sidelane import (
    Context,
    FinishedJob,
    Fixed,
    PermanentFailure,
    Queue,
    Retry,
    Sidelane,
    Task,
    Use,
)
from sidelane.model.job import JobRecord
from sidelane.tasks.task_options import TaskOptions
from sidelane.testing.harness import Harness


class Report(BaseModel):
    score: int


class Shop:
    """A lane with a few tasks, and the arguments they got."""

    def __init__(self, *, hook: TaskOptions | None = None) -> None:
        self.lane = lane = Sidelane(queues=[Queue("small", max_queued=1), Queue("alarms")])
        self.published: list[tuple[Report, str]] = []
        self.told: list[FinishedJob] = []
        self.letters: list[FinishedJob] = []

        @lane.task
        async def write(score: int) -> Report:
            return Report(score=score)

        @lane.task(retry=Retry(attempts=2, backoff=Fixed(0)))
        async def fail(words: str) -> Report:
            raise ValueError(words)

        @lane.task
        async def publish(report: Report, channel: str = "news") -> str:
            self.published.append((report, channel))
            return f"{channel}-{report.score}"

        @lane.task
        async def tell(what: FinishedJob, urgent: bool = False) -> None:
            self.told.append(what)

        if hook is not None:

            @lane.dead_letter(**hook)
            async def alarm(letter: FinishedJob, ctx: Context = Use(Context)) -> None:
                self.letters.append(letter)
                raise PermanentFailure("nobody is there")

            self.alarm = alarm
        self.write, self.fail, self.publish, self.tell = write, fail, publish, tell


async def the_one(t: Harness, task: Task[..., Any, Any]) -> JobRecord:
    """Return the record, with its history, of the only job of a task."""
    (found,) = await t.records(task)
    return await t.client.record(found.id)
