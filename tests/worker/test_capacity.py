"""Worker capacity."""

from sidelane.model.job import JobRecord, JobSpec, State
from sidelane.worker.capacity import WorkerCapacity


def record(queue: str = "chat", losses: int = 0) -> JobRecord:
    return JobRecord(
        spec=JobSpec(id="j", task="t", queue=queue),
        sequence=1,
        state=State.RUNNING,
        submitted=0.0,
        worker_losses=losses,
    )


def test_queue_has_no_more_free_slots_than_its_own_limit() -> None:
    slots = WorkerCapacity(4, {"chat": None, "gpu": 1})
    assert slots.free_by_queue() == {"chat": 4, "gpu": 1}
    slots.acquire(record("gpu"))
    assert slots.free_by_queue() == {"chat": 4}
    slots.release(record("gpu"))
    assert slots.free_by_queue() == {"chat": 4, "gpu": 1}
