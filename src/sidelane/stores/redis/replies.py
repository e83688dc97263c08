"""What scripts answer, as values."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from sidelane.model.batch import BatchRecord
from sidelane.model.event import END, Event, EventPage
from sidelane.model.job import (
    Failure,
    JobRecord,
    JobSpec,
    Lease,
    Query,
    Rejection,
    State,
    Submission,
    Tombstone,
    end_event_payload,
)
from sidelane.model.limit import Limit, LimitHit
from sidelane.model.schedule import ScheduleList, ScheduleRecord
from sidelane.model.worker import Claimed, Claims, LimitStats, QueuePosition, QueueStats
from sidelane.stores.problems import (
    batch_sealed,
    batch_unknown,
    limit_hit,
    limits_full,
    queue_full,
    removed_before,
    unique_taken,
)
from sidelane.stores.redis.arguments import STATES, WAITING
from sidelane.stores.redis.row import Row, row_of
from sidelane.stores.serialization import load_batch, load_limits, load_problem, load_schedule, load_spec

_MOVES = 1 / 3600
"""Jobs started in a second, below which nobody can say how long a queue takes."""


def record_of(answer: Sequence[Any]) -> JobRecord:
    """Make the record of what `answers.lua` gives."""
    return _record(answer, row_of(answer[1]))


def _record(answer: Sequence[Any], row: Row) -> JobRecord:
    job_id, _, *rest = answer
    spec, result, progress, history = rest or ("", None, None, ())
    return JobRecord(
        spec=_spec(job_id, row, row.spec or spec),
        sequence=row.sequence,
        state=STATES[row.state],
        attempt=row.attempt,
        failures=row.failures,
        worker_losses=row.losses,
        isolated=row.isolated,
        ends=row.ends,
        submitted=float(row.submitted),
        due=float(row.due) if row.state == WAITING else None,
        started=_time(row.started),
        ended=_time(row.ended),
        cancel_requested=row.cancelling,
        waiting_for_limit=row.parked_at.partition(":")[2] if row.parked_at else None,
        worker=row.worker or None,
        external_lease=Lease(job_id, row.attempt, row.nonce) if row.outside is not False else None,
        last=row.last,
        ordinal=row.ordinal,
        progress=progress and progress.split("\n", 2)[2],
        result=row.result or result,
        problem=load_problem(row.problem) if row.problem else None,
        history=tuple(map(_failure, history or ())),
    )


def _spec(job_id: str, row: Row, text: str) -> JobSpec:
    """Make the spec of a row, and of the text of what was asked for."""
    rest, _, arguments = text.partition("\n")
    document = {"id": job_id, **json.loads(rest)}
    if arguments:
        document["arguments"] = arguments
    if not row.batch:  # a follow-up does without a batch that takes no more jobs
        document.pop("batch", None)
    limits = _limits(row.limits, row.limit_keys) if row.limits else ()
    if "follow_ups" in document:
        return replace(load_spec(document), limits=limits)
    return JobSpec(**document, limits=limits)


def _limits(text: str, keys: Sequence[str]) -> tuple[Limit, ...]:
    return tuple(_limit(text, place, key) for place, key in enumerate(keys))


@lru_cache(maxsize=10_000)
def _limit(text: str, place: int, key: str) -> Limit:
    """Make a limit of a row, which many jobs share."""
    return replace(load_limits(text)[place], key=key)


def found_of(job_id: str, answer: Any) -> JobRecord | Tombstone | None:
    """Make what a look-up found: a record, or the user of a job that is gone."""
    if answer is None:
        return None
    return Tombstone(job_id, answer or None) if isinstance(answer, str) else record_of(answer)


def submission_of(spec: JobSpec, answer: Any, now: float) -> Submission | Rejection:
    """Make the answer to a submit: of a new job only its age comes back, and when it is due if it is not ready."""
    due = None
    if isinstance(answer, list):
        if isinstance(answer[0], list):
            return _refusal(spec, *answer[0])
        if not isinstance(answer[0], int):
            return Submission(record_of(answer), False)
        if isinstance(answer[1], list):
            return Submission(record_of(answer[1]), True)
        answer, due = answer[0], float(answer[1])
    return Submission(JobRecord(spec=spec, sequence=answer, state=State.QUEUED, submitted=now, due=due), True)


def _refusal(spec: JobSpec, kind: str, found: Any = None) -> Rejection:
    """Say why a job was not submitted."""
    match kind:
        case "limits":
            return limit_hit(_reached(spec.limits, found))
        case "gone":
            return Rejection(removed_before(spec.id))
        case "full":
            return queue_full(spec.queue, spec.max_queued or 0, float(found))
        case "sealed":
            return Rejection(batch_sealed(spec.batch or ""))
        case _:
            return Rejection(batch_unknown(spec.batch or ""))


def _reached(limits: Sequence[Limit], found: Sequence[Any]) -> list[LimitHit]:
    return [LimitHit(limits[place], time_of(after)) for place, after in found]


def requeued_of(answer: Any) -> JobRecord | Rejection | None:
    """Make the answer to a requeue."""
    if answer is None:
        return None
    if isinstance(answer, str):
        return Rejection(unique_taken(answer))
    if isinstance(answer[0], list):
        return limits_full(_reached(record_of(answer[0]).spec.limits, answer[1]))
    return record_of(answer)


def batch_record_of(answer: Sequence[Any]) -> BatchRecord:
    """Make the record of what `batches.lua` gives."""
    text, submitted, sealed, total, succeeded, failed, cancelled, ends, ended = answer
    return BatchRecord(
        spec=load_batch(text),
        submitted=float(submitted),
        sealed=bool(sealed),
        total=total,
        succeeded=succeeded,
        failed=failed,
        cancelled=cancelled,
        ends=ends,
        ended=time_of(ended),
    )


def timetable_of(answer: Sequence[Any]) -> ScheduleList:
    """Make the answer to a listing of schedules."""
    now, *schedules = answer
    records = map(_schedule_record, schedules)
    return ScheduleList(float(now), tuple(sorted(records, key=lambda record: record.schedule.name)))


def _schedule_record(answer: Sequence[Any]) -> ScheduleRecord:
    text, enabled, last, next_, *fired = answer
    return ScheduleRecord(
        schedule=load_schedule(text),
        enabled=bool(enabled),
        last=float(last),
        next=time_of(next_),
        job=fired[0] if fired else None,
    )


def claims_of(answers: Sequence[Any]) -> Claims:
    """Make the answer to a claim."""
    _, next_due, now, isolated, *jobs = answers
    return Claims(tuple(_claimed(job, float(now)) for job in jobs), time_of(next_due), bool(isolated))


def _claimed(answer: Sequence[Any], now: float) -> Claimed:
    row = row_of(answer[1])
    record = _record(answer, row)
    remaining = row.deadline_at - now if row.deadline_at else None
    return Claimed(record, Lease(record.id, record.attempt, row.nonce), remaining)


def reading_of(job_id: str, answer: Sequence[Any]) -> EventPage:
    """Make the answer to a read. The end of a finished job has no line of its own: it follows from the rest."""
    code, last, gap, after, epoch, ended, problem, result, lines = answer
    events = [_event(job_id, number, line) for number, line in enumerate(lines, after + 1)]
    if code >= 0:
        data = end_event_payload(job_id, STATES[code], result, load_problem(problem) if problem else None)
        events.append(Event(last, epoch, float(ended), END, data))
    return EventPage(tuple(events), last, bool(gap), STATES[code if code >= 0 else -1 - code].finished)


def stats_of(answer: Sequence[Any]) -> QueueStats:
    name, paused, ready, delayed, parked, running, oldest, rate = answer
    return QueueStats(
        name=name,
        paused=bool(paused),
        ready=ready,
        delayed=delayed,
        waiting_for_limit=parked,
        running=running,
        oldest=time_of(oldest),
        rate=float(rate),
    )


def place_of(answer: Sequence[Any]) -> QueuePosition:
    """Make the answer to where a job stands."""
    before, rate = answer[0], float(answer[1])
    return QueuePosition(before, before / rate if rate >= _MOVES else None)


def limit_stats_of(answer: Sequence[Any]) -> LimitStats:
    limit, most, held, parked, after = answer
    return LimitStats(id=limit, most=most, held=held, waiting=parked, after=time_of(after))


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
    return end_event_payload(job_id, state, result, load_problem(text) if state is State.FAILED and text else None)


def _failure(text: str) -> Failure:
    header, kept = text.split("\n", 1)
    attempt, at = header.split(" ")
    problem, error, traceback = json.loads(kept)
    return Failure(problem=load_problem(problem), error=error, traceback=traceback, attempt=int(attempt), at=float(at))
