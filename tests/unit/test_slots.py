"""Slots and suspects."""

from sidelane.engine.slots import Slots
from sidelane.model.job import JobRecord, JobSpec, State


def record(queue: str = "chat", losses: int = 0) -> JobRecord:
    return JobRecord(
        spec=JobSpec(id="j", task="t", queue=queue), sequence=1, state=State.RUNNING, submitted=0.0, losses=losses
    )


def test_a_queue_has_room_for_its_own_limit_and_no_more() -> None:
    slots = Slots(4, {"chat": None, "gpu": 1})
    assert slots.free_by_queue() == {"chat": 4, "gpu": 1}
    slots.take(record("gpu"))
    assert slots.free_by_queue() == {"chat": 4}
    slots.give_back(record("gpu"))
    assert slots.free_by_queue() == {"chat": 4, "gpu": 1}


def test_a_sixteenth_may_be_suspects_and_one_may_be_worse() -> None:
    slots = Slots(200, {"chat": None})
    assert slots.suspects() == (12, 1)
    slots.take(record(losses=1))
    slots.take(record(losses=3))
    assert slots.suspects() == (11, 0)


def test_a_small_worker_takes_one_suspect() -> None:
    assert Slots(4, {"chat": None}).suspects() == (1, 1)
