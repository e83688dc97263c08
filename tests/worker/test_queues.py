"""A worker and its queues: shares by weight, strict order, no starvation."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from sidelane import Queue, Sidelane
from sidelane.model.errors import UnknownQueue
from sidelane.worker.worker import run_in_background

SOON = 30.0

JOBS = 60


class Floor:
    """A lane with three queues of different weight, and the order in which their jobs started."""

    def __init__(self, store: Path) -> None:
        queues = [Queue("chat", weight=4), Queue("feedback", weight=2), Queue("night")]
        self.lane = lane = Sidelane(queues=queues, store=f"sqlite:///{store}", settings={"lease_duration": 2.0})
        self.began: list[str] = []
        self.all_began = asyncio.Event()

        async def work(queue: str, expected: int) -> None:
            self.began.append(queue)
            if len(self.began) == expected:
                self.all_began.set()

        self.tasks = {name: lane.task(name=f"work_{name}", queue=name)(work) for name in ("chat", "feedback", "night")}

    async def submit(self, **counts: int) -> None:
        for queue, count in counts.items():
            task = self.tasks[queue]
            await asyncio.gather(*(task.submit(queue, sum(counts.values())) for _ in range(count)))

    async def work(self, *, slots: int, strict: bool = False, queues: tuple[str, ...] = ()) -> list[str]:
        """Run all jobs with one worker and return the order in which they started."""
        wanted = dict.fromkeys(queues) if queues else None
        async with asyncio.timeout(SOON):
            async with run_in_background(self.lane.worker(concurrency=slots, strict=strict, queues=wanted)):
                await self.all_began.wait()
        return self.began


@pytest.fixture
def floor(tmp_path: Path) -> Floor:
    return Floor(tmp_path / "jobs.db")


@pytest.mark.parametrize("slots", [1, 3, 14])
async def test_a_worker_runs_full_queues_by_their_weights(floor: Floor, slots: int) -> None:
    async with floor.lane.open():
        await floor.submit(night=JOBS, feedback=JOBS, chat=JOBS)
        began = await floor.work(slots=slots)
    shares = Counter(began[:70])  # of seven, four are chat's and two feedback's; none of the queues is empty so early
    assert shares["chat"] == pytest.approx(40, abs=slots)
    assert shares["feedback"] == pytest.approx(20, abs=slots)
    assert shares["night"] == pytest.approx(10, abs=slots)
    assert Counter(began) == {"chat": JOBS, "feedback": JOBS, "night": JOBS}


async def test_a_job_does_not_wait_for_another_queues_backlog(floor: Floor) -> None:
    async with floor.lane.open():
        await floor.submit(chat=200, night=1)
        began = await floor.work(slots=2)
    assert began.index("night") < 20


async def test_a_strict_worker_runs_its_queues_in_order(floor: Floor) -> None:
    async with floor.lane.open():
        await floor.submit(chat=20, feedback=20, night=20)
        began = await floor.work(slots=4, strict=True, queues=("night", "chat", "feedback"))
    assert began == ["night"] * 20 + ["chat"] * 20 + ["feedback"] * 20


async def test_a_worker_of_an_unknown_queue_raises(floor: Floor) -> None:
    async with floor.lane.open():
        with pytest.raises(UnknownQueue, match="There is no queue 'typo'; this lane declares chat, feedback, night"):
            floor.lane.worker(queues={"typo": None})
