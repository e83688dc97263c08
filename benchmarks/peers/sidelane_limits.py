"""Sidelane with 1,000 users and three limits per job that are never reached, and a plain task for comparison."""

from collections.abc import Sequence

import contest
from sidelane_peer import TASKS, SidelanePeer, lane

from sidelane import Call, ConcurrencyLimit, RateLimit
from sidelane.model.job import Submission

USERS, KEYS = 1000, 97

NEVER_REACHED = 1000
"""More slots than the worker has."""


@lane.task(
    limits=[
        ConcurrencyLimit(NEVER_REACHED, per="user", on_limit="wait"),
        RateLimit("1000000/s", per="task", on_limit="wait"),
        ConcurrencyLimit(NEVER_REACHED, per=lambda number: number % KEYS, on_limit="wait"),
    ]
)
async def waiting(number: int, text: str) -> int:
    """A task with three limits that count at the start."""
    contest.mark(number)
    return number


@lane.task(
    limits=[
        ConcurrencyLimit(NEVER_REACHED, per="user"),
        RateLimit("1000000/s", per="task"),
        ConcurrencyLimit(10 * NEVER_REACHED, per=lambda number: number % KEYS),
    ]
)
async def rejecting(number: int, text: str) -> int:
    """A task with three limits that count at the submit."""
    contest.mark(number)
    return number


TASKS |= {each.name: each for each in (waiting, rejecting)}


class LimitsPeer(SidelanePeer):
    def worker(self, slots: int) -> list[str]:
        return [each.replace("sidelane_peer", "sidelane_limits") for each in super().worker(slots)]

    def call(self, task: str, number: int, text: str) -> Call[int]:
        """Return a call: of one user for the plain task, of 1,000 users for the others."""
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
