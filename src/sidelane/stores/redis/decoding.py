"""What scripts answer, as values."""

import json
from collections.abc import Sequence
from typing import Any

from sidelane.model.event import END, Event, Reading
from sidelane.model.job import Failure, Gone, JobRecord, JobSpec, Lease, Query, State, Submission, end_data
from sidelane.model.worker import Claimed, Claims, QueueStats
from sidelane.stores.redis.encoding import STATES, WAITING
from sidelane.stores.redis.row import Row, row_of
from sidelane.stores.texts import problem_of, spec_of


def record_of(answer: Sequence[Any]) -> JobRecord:
    """Make the record of what `answers.lua` gives."""
    return _record(answer, row_of(answer[1]))


def _record(answer: Sequence[Any], row: Row) -> JobRecord:
    job_id, _, *rest = answer
    spec, result, progress, history = rest or ("", None, None, ())
    return JobRecord(
        spec=spec_of({"id": job_id, **json.loads(row.spec or spec)}),
        sequence=row.sequence,
        state=STATES[row.state],
        attempt=row.attempt,
        failures=row.failures,
        losses=row.losses,
        ends=row.ends,
        submitted=float(row.submitted),
        due=float(row.due) if row.state == WAITING else None,
        started=_time(row.started),
        ended=_time(row.ended),
        cancelling=row.cancelling,
        worker=row.worker or None,
        last=row.last,
        progress=progress and progress.split("\n", 2)[2],
        result=row.result or result,
        problem=problem_of(row.problem) if row.problem else None,
        history=tuple(map(_failure, history or ())),
    )


def found_of(job_id: str, answer: Any) -> JobRecord | Gone | None:
    """Make what a look-up found: a record, or the user of a job that is gone."""
    if answer is None:
        return None
    return Gone(job_id, answer or None) if isinstance(answer, str) else record_of(answer)


def submission_of(spec: JobSpec, answer: Any, now: float) -> Submission:
    """Make the answer to a submit: of a new job only its age comes back, and when it is due if it is not ready."""
    due = None
    if isinstance(answer, list):
        if not isinstance(answer[0], int):
            return Submission(record_of(answer), False)
        answer, due = answer[0], float(answer[1])
    return Submission(JobRecord(spec=spec, sequence=answer, state=State.QUEUED, submitted=now, due=due), True)


def claims_of(answers: Sequence[Any]) -> Claims:
    """Make the answer to a claim."""
    _, next_due, now, *jobs = answers
    return Claims(tuple(_claimed(job, float(now)) for job in jobs), time_of(next_due))


def _claimed(answer: Sequence[Any], now: float) -> Claimed:
    row = row_of(answer[1])
    record = _record(answer, row)
    remaining = row.deadline_at - now if row.deadline_at else None
    return Claimed(record, Lease(record.id, record.attempt, row.nonce), remaining)


def reading_of(job_id: str, answer: Sequence[Any]) -> Reading:
    """Make the answer to a read. The end of a finished job has no line of its own: it follows from the rest."""
    code, last, gap, after, epoch, ended, problem, result, lines = answer
    events = [_event(job_id, number, line) for number, line in enumerate(lines, after + 1)]
    if code >= 0:
        data = end_data(job_id, STATES[code], result, problem_of(problem) if problem else None)
        events.append(Event(last, epoch, float(ended), END, data))
    return Reading(tuple(events), last, bool(gap), STATES[code if code >= 0 else -1 - code].finished)


def stats_of(answer: Sequence[Any]) -> QueueStats:
    name, paused, ready, delayed, running, oldest = answer
    return QueueStats(
        name=name, paused=bool(paused), ready=ready, delayed=delayed, running=running, oldest=time_of(oldest)
    )


def meets(record: JobRecord, query: Query) -> bool:
    """Tell whether a job has the labels a query asks for; scripts check the rest."""
    return all(record.spec.labels.get(name) == value for name, value in query.labels.items())


def _time(value: Any) -> float | None:
    return float(value) if value else None


def time_of(text: str) -> float | None:
    return None if text == "-" else float(text)


def _event(job_id: str, number: int, line: str) -> Event:
    header, name, data = line.split("\n", 2)
    epoch, at = header.split(" ")
    if not name:  # an end that a requeue has written down
        name, data = END, _end_data(job_id, STATES[int(data[0])], data[1:])
    return Event(number, int(epoch), float(at), name, data)


def _end_data(job_id: str, state: State, text: str) -> str:
    result = text if state is State.SUCCEEDED else None
    return end_data(job_id, state, result, problem_of(text) if state is State.FAILED and text else None)


def _failure(text: str) -> Failure:
    header, kept = text.split("\n", 1)
    attempt, at = header.split(" ")
    problem, error, traceback = json.loads(kept)
    return Failure(problem=problem_of(problem), error=error, traceback=traceback, attempt=int(attempt), at=float(at))
