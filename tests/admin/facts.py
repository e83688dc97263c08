"""Facts and records for tests of findings."""

from collections.abc import Mapping
from typing import Any

from sidelane.admin.findings.evaluation import evaluate
from sidelane.admin.findings.facts import Facts
from sidelane.admin.findings.finding import Finding
from sidelane.client.declarations import Declarations
from sidelane.model.history import Count, HistoryCell, Series, add_duration
from sidelane.model.job import Failure, JobRecord, JobSpec, State
from sidelane.model.problem import Problem
from sidelane.model.transition import Change, dump_transition
from sidelane.model.worker import QueueStats, WorkerInfo

NOW = 1_800_000_000.0
MINUTE_START = NOW - NOW % 60


def find(**facts: Any) -> list[Finding]:
    """Return the findings of these facts, worst first."""
    return evaluate(Facts(now=NOW, **facts))


def only(**facts: Any) -> Finding:
    """Return the only finding of these facts."""
    (found,) = find(**facts)
    return found


def targets(**seconds: float) -> Declarations:
    return Declarations(target_waits=seconds)


def worker(name: str = "chat-1@box", **fields: Any) -> WorkerInfo:
    return WorkerInfo(
        id=name, name=name, **{"queues": {"chat": 40}, "tasks": {"answer": 2}, "slots": 40, "running": 40, **fields}
    )


def queue(name: str = "chat", **fields: Any) -> QueueStats:
    return QueueStats(name=name, **fields)


def cell(counts: Mapping[Any, int], *, at: float = MINUTE_START - 240, **series: str) -> HistoryCell:
    return HistoryCell(at, Series(**{"queue": "chat", "task": "answer", "release": "8ac11e0", **series}), counts)


def runs(seconds: float, times: int, *, first_event: float | None = None, events: int = 0) -> dict[int, int]:
    """Return the counts of attempts that ran for so long and sent so many events together."""
    counts: dict[int, int] = {}
    for _ in range(times):
        add_duration(counts, Count.RUN, seconds)
        if first_event is not None:
            add_duration(counts, Count.FIRST_EVENT, first_event)
    if first_event is not None:
        counts[Count.STREAM_MS] = round((seconds - first_event) * 1000 * times)
        counts[Count.EVENTS] = events
    return counts


def running(job_id: str, *, task: str = "answer", started: float, **fields: Any) -> JobRecord:
    spec = JobSpec(id=job_id, task=task, queue="chat")
    return JobRecord(
        spec=spec,
        sequence=1,
        state=State.RUNNING,
        attempt=1,
        submitted=started,
        started=started,
        worker="chat-1",
        **fields,
    )


def failed(job_id: str, error: str, *, release: str = "", ago: float = 60.0, **spec: Any) -> JobRecord:
    at = NOW - ago
    problem = Problem(status=500, title="Internal error")
    return JobRecord(
        spec=JobSpec(**{"id": job_id, "task": "answer", "version": 2, "queue": "chat", **spec}),
        sequence=1,
        state=State.FAILED,
        attempt=1,
        submitted=at - 1,
        ended=at,
        problem=problem,
        history=(Failure(problem=problem, error=error, at=at),),
        transitions=dump_transition(Change.STARTED, at - 1, "chat-1", release),
    )
