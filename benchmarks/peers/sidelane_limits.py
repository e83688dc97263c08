"""Sidelane with a thousand users and three limits a job, none of which is ever reached; and the same without either, beside it."""

from collections.abc import Sequence

import contest
from sidelane_peer import TASKS, SidelanePeer, lane

from sidelane import Call, ConcurrencyLimit, RateLimit
from sidelane.model.job import Submission

USERS, KEYS = 1000, 97

ROOM = 1000
"""More slots than the worker has, so that no limit is ever reached."""


@lane.task(
    limits=[
        ConcurrencyLimit(ROOM, per="user", on_limit="wait"),
        RateLimit("1000000/s", per="task", on_limit="wait"),
        ConcurrencyLimit(ROOM, per=lambda number: number % KEYS, on_limit="wait"),
    ]
)
async def waiting(number: int, text: str) -> int:
    """Be counted by three limits at the start."""
    contest.mark(number)
    return number


@lane.task(
    limits=[
        ConcurrencyLimit(ROOM, per="user"),
        RateLimit("1000000/s", per="task"),
        ConcurrencyLimit(10 * ROOM, per=lambda number: number % KEYS),
    ]
)
async def rejecting(number: int, text: str) -> int:
    """Be counted by three limits at the submit."""
    contest.mark(number)
    return number


TASKS |= {each.name: each for each in (waiting, rejecting)}


class LimitsPeer(SidelanePeer):
    def worker(self, slots: int) -> list[str]:
        return [each.replace("sidelane_peer", "sidelane_limits") for each in super().worker(slots)]

    def call(self, task: str, number: int, text: str) -> Call[int]:
        """Make a call: the plain task is one user's, the others are a thousand's."""
        user = "u" if task == "noop" else f"u{number % USERS}"
        return TASKS[task].options(user=user).call(number, text)

    async def submit(self, task: str, number: int, text: str) -> str:
        return (await lane.submit(self.call(task, number, text))).id

    async def submit_batch(self, task: str, numbers: Sequence[int], text: str) -> list[str]:
        specs = [self.call(task, number, text).spec() for number in numbers]
        answers = await lane.client.store.submit(specs)
        assert all(isinstance(answer, Submission) for answer in answers), "no limit is reached"
        return [spec.id for spec in specs]


if __name__ == "__main__":
    contest.main(LimitsPeer())
