"""Decodes the replies of scripts into the values of the contract."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from msgpack import unpackb

from sidelane.model.batch import BatchRecord
from sidelane.model.event import END, Event, EventPage
from sidelane.model.history import NO_USAGE
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
from sidelane.model.limit_override import LimitOverride
from sidelane.model.schedule import ScheduleList, ScheduleRecord
from sidelane.model.shared_state import JournalEntry, VersionedValue
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
from sidelane.stores.redis.arguments import DELAYED, PAUSED, STATES, ascii_lower
from sidelane.stores.serialization import (
    dump_problem,
    dumps,
    load_batch,
    load_limits,
    load_problem,
    load_schedule,
    load_spec,
    load_usage,
)

_MIN_RATE = 1 / 3600
"""Starts per second below which a queue's waiting time is not estimated."""


MAX_CACHED = 256
"""Maximum characters of a spec without arguments that is kept decoded."""


class Row(NamedTuple):
    """A job's row as scripts pack it: the fields in the order of `rows.lua`. A missing value is False."""

    sequence: int
    state: int
    queue: str
    priority: str
    user: str
    task: str
    version: str
    key: Any
    unique: Any
    parent: Any
    max_worker_losses: int
    retention: float
    expires: Any
    deadline: Any
    abandon_after: Any
    has_follow_ups: bool
    limits: Any
    limit_keys: Any
    batch: Any
    cascade: bool
    blocked_by: Any
    submitted: float
    due: float
    delay: Any
    attempt: int
    failures: int
    worker_losses: int
    ends: int
    started: Any
    ended: Any
    expires_at: Any
    deadline_at: Any
    abandon_at: Any
    cancel_requested: bool
    worker: Any
    nonce: Any
    finished_nonce: Any
    ordinal: int
    epoch: int
    last: int
    progress: Any
    problem: Any
    has_timer: bool
    spec: Any
    result: Any
    id_retention: float
    external: Any
    isolable: bool
    isolated: bool
    log_space: Any
    release: str
    first_event: Any
    last_event: Any
    transitions: Any
    usage: Any
    logged: int


def load_row(packed: str) -> Row:
    """Unpack a row. The reply is decoded as text, so bytes that are not UTF-8 become surrogates."""
    return Row._make(unpackb(packed.encode(errors="surrogateescape")))


def record_of(answer: Sequence[Any]) -> JobRecord:
    """Decode the reply of `job_reply.lua`."""
    return _record(answer, load_row(answer[1]))


def _record(answer: Sequence[Any], row: Row) -> JobRecord:
    job_id, _, *rest = answer
    spec, result, progress, history = rest or ("", None, None, ())
    state = STATES[row.state]
    return JobRecord(
        spec=_spec(job_id, row, row.spec or spec),
        sequence=row.sequence,
        state=state,
        attempt=row.attempt,
        failures=row.failures,
        worker_losses=row.worker_losses,
        isolated=row.isolated,
        ends=row.ends,
        submitted=float(row.submitted),
        due=float(row.due) if row.state == DELAYED else None,
        started=_time(row.started),
        ended=_time(row.ended),
        cancel_requested=row.cancel_requested,
        waiting_for_limit=row.blocked_by.partition(":")[2] if row.blocked_by else None,
        waiting_for_batch=row.state == PAUSED,
        worker=row.worker if state is State.RUNNING and row.worker else None,
        last_worker=row.worker or None,
        release=row.release,
        external_lease=Lease(job_id, row.attempt, row.nonce) if row.external is not False else None,
        last=row.last,
        ordinal=row.ordinal,
        progress=progress and progress.split("\n", 2)[2],
        result=row.result or result,
        problem=load_problem(row.problem) if row.problem else None,
        history=tuple(map(_failure, history or ())),
        first_event=_time(row.first_event),
        last_event=_time(row.last_event),
        transitions=row.transitions or "",
        usage=load_usage(*row.usage) if row.usage else NO_USAGE,
    )


def _spec(job_id: str, row: Row, text: str) -> JobSpec:
    """Decode the spec from a row and the stored text."""
    rest, _, arguments = text.partition("\n")
    members = _members(rest) if len(rest) <= MAX_CACHED else json.loads(rest)
    document = {"id": job_id, **members}
    if arguments:
        document["arguments"] = arguments
    if "labels" in document:
        document["labels"] = dict(document["labels"])  # a change must not reach other jobs
    if not row.batch:  # a follow-up whose batch is sealed or unknown has none
        document.pop("batch", None)
    limits = _limits(row.limits, row.limit_keys) if row.limits else ()
    if "follow_ups" in document:
        return replace(load_spec(document), limits=limits)
    return JobSpec(**document, limits=limits)


@lru_cache(maxsize=1_000)
def _members(text: str) -> dict[str, Any]:
    """Decode a spec without arguments. The result is cached, because most jobs of a task differ only in their arguments."""
    found: dict[str, Any] = json.loads(text)
    return found


def _limits(text: str, keys: Sequence[str]) -> tuple[Limit, ...]:
    return tuple(_limit(text, index, key) for index, key in enumerate(keys))


@lru_cache(maxsize=10_000)
def _limit(text: str, index: int, key: str) -> Limit:
    """Decode one limit of a row. The result is cached, because the jobs of a task share the limit."""
    return replace(load_limits(text)[index], key=key)


def lookup_of(job_id: str, answer: Any) -> JobRecord | Tombstone | None:
    """Decode the reply to `get`: a record, the tombstone of a removed job, or None."""
    if answer is None:
        return None
    return Tombstone(job_id, answer or None) if isinstance(answer, str) else record_of(answer)


def submission_of(spec: JobSpec, answer: Any, now: float) -> Submission | Rejection:
    """Decode the reply to `submit`. For a new job, the reply contains the sequence and, if the job is delayed, the due time."""
    due = None
    if isinstance(answer, list):
        if isinstance(answer[0], list):
            return _rejection(spec, *answer[0])
        if not isinstance(answer[0], int):
            return Submission(record_of(answer), False)
        if isinstance(answer[1], list):
            return Submission(record_of(answer[1]), True)
        answer, due = answer[0], float(answer[1])
    return Submission(JobRecord(spec=spec, sequence=answer, state=State.QUEUED, submitted=now, due=due), True)


def _rejection(spec: JobSpec, kind: str, found: Any = None) -> Rejection:
    """Return the rejection for the reason that `submit.lua` names."""
    match kind:
        case "limits":
            return limit_hit(_limit_hits(spec.limits, found))
        case "removed":
            return Rejection(removed_before(spec.id))
        case "full":
            return queue_full(spec.queue, spec.max_queued or 0, float(found))
        case "sealed":
            return Rejection(batch_sealed(spec.batch or ""))
        case _:
            return Rejection(batch_unknown(spec.batch or ""))


def _limit_hits(limits: Sequence[Limit], found: Sequence[Any]) -> list[LimitHit]:
    return [
        LimitHit(_in_force(limits[index], *numbers) if numbers else limits[index], time_of(after))
        for index, after, *numbers in found
    ]


def _in_force(limit: Limit, maximum: int, window: str) -> Limit:
    return replace(limit, max=maximum, window=time_of(window))


def requeued_of(answer: Any) -> JobRecord | Rejection | None:
    """Decode one reply to `requeue`."""
    if answer is None:
        return None
    if isinstance(answer, str):
        return Rejection(unique_taken(answer))
    if isinstance(answer[0], list):
        return limits_full(_limit_hits(record_of(answer[0]).spec.limits, answer[1]))
    return record_of(answer)


def batch_record_of(answer: Sequence[Any]) -> BatchRecord:
    """Decode the reply of `batches.lua`."""
    text, submitted, sealed, total, succeeded, failed, cancelled, ends, ended, paused = answer
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
        paused=bool(paused),
    )


def schedules_of(answer: Sequence[Any]) -> ScheduleList:
    """Decode the reply to `list_schedules`, sorted by name."""
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


def claims_of(answers: Sequence[Any], expired: Sequence[str]) -> Claims:
    """Decode the reply to `claim`. `expired` are the ids in this reply, and in those to the calls before it."""
    _, next_due, now, isolated, _, pauses, *jobs = answers
    last_pauses = None if pauses is None else {queue: (float(began), float(ended)) for queue, began, ended in pauses}
    claimed = tuple(_claimed(job, float(now), last_pauses) for job in jobs)
    return Claims(claimed, time_of(next_due), bool(isolated), tuple(expired))


def _claimed(answer: Sequence[Any], now: float, pauses: Mapping[str, tuple[float, float]] | None) -> Claimed:
    """Decode a claimed job. `pauses` has the last pause of queues, unless the claim is repeated."""
    row = load_row(answer[1])
    record = _record(answer, row)
    remaining = row.deadline_at - now if row.deadline_at else None
    lease = Lease(record.id, record.attempt, row.nonce)
    if pauses is None:
        return Claimed(record, lease, remaining)
    able_since, paused = row.due, 0.0
    if row.queue in pauses:
        began, ended = pauses[row.queue]
        if ended > able_since:
            paused, able_since = max(0.0, min(ended, now) - max(able_since, began)), ended
    return Claimed(record, lease, remaining, waited=max(0.0, now - able_since), paused=paused)


def event_page_of(job_id: str, answer: Sequence[Any]) -> EventPage:
    """Decode one reply to `read`. The end event of a finished job is not in the log, but is built from the row."""
    code, last, gap, after, epoch, ended, problem, result, lines = answer
    events = [_event(job_id, number, line) for number, line in enumerate(lines, after + 1)]
    if code >= 0:
        data = end_event_payload(job_id, STATES[code], result, load_problem(problem) if problem else None)
        events.append(Event(last, epoch, float(ended), END, data))
    return EventPage(tuple(events), last, bool(gap), STATES[code if code >= 0 else -1 - code].finished)


def value_of(answer: Sequence[Any] | None) -> VersionedValue | None:
    if answer is None:
        return None
    name, version, changed, text = answer
    return VersionedValue(name=name, text=text, version=version, changed=float(changed))


def journal_entries_of(answer: Sequence[Any]) -> list[JournalEntry]:
    """Decode the reply to `read_journal`: the number of the newest entry, then the entries, newest first."""
    newest, *entries = answer
    found = []
    for number, entry in enumerate(entries):
        at, text = entry.split("\n", 1)
        found.append(JournalEntry(newest - number, float(at), text))
    return found


def stats_of(answer: Sequence[Any]) -> QueueStats:
    name, paused, ready, delayed, blocked, of_paused, running, oldest, rate, head_wait, isolated, tasks = answer
    return QueueStats(
        name=name,
        paused=bool(paused),
        ready=ready,
        delayed=delayed,
        waiting_for_limit=blocked,
        waiting_for_batch=of_paused,
        running=running,
        oldest=time_of(oldest),
        rate=float(rate),
        head_wait=time_of(head_wait),
        isolated=isolated,
        waiting_tasks=dict(zip(tasks[::2], map(int, tasks[1::2]), strict=True)),
    )


def position_of(answer: Sequence[Any]) -> QueuePosition:
    """Decode the reply to `queue_position`. The estimated wait is in seconds."""
    before, rate = answer[0], float(answer[1])
    return QueuePosition(before, before / rate if rate >= _MIN_RATE else None)


def limit_stats_of(answer: Sequence[Any]) -> LimitStats:
    limit, size, used, blocked, after = answer
    return LimitStats(id=limit, max=size, used=used, waiting=blocked, available_in=time_of(after))


def override_of(answer: Sequence[Any]) -> LimitOverride:
    """Decode one override of the reply to `limit_overrides`."""
    override_id, maximum, window, burst, until, since, by, reason = answer
    name, slash, key = override_id.partition("/")
    return LimitOverride(
        name=name, key=key if slash else None, max=maximum, window=time_of(window), burst=burst, since=float(since),
        until=time_of(until), by=by, reason=reason,
    )  # fmt: skip


def matches(record: JobRecord, query: Query) -> bool:
    """Return True if a job has the labels and the text of a query. Scripts check the other conditions."""
    spec = record.spec
    if any(spec.labels.get(name) != value for name, value in query.labels.items()):
        return False
    if query.text is None:
        return True
    labels = dumps(spec.labels) if spec.labels else ""
    problem = dump_problem(record.problem) if record.problem else ""
    error = record.history[-1].error if record.history else ""
    texts = (record.id, spec.task, spec.user or "", spec.key or "", labels, spec.arguments, problem, error)
    return any(ascii_lower(query.text) in ascii_lower(text) for text in texts)


def _time(value: Any) -> float | None:
    return float(value) if value else None


def time_of(text: str) -> float | None:
    return None if text == "-" else float(text)


def _event(job_id: str, number: int, line: str) -> Event:
    header, name, data = line.split("\n", 2)
    epoch, at = header.split(" ")
    if not name:  # an end that a requeue has written to the log
        name, data = END, _end_data(job_id, STATES[int(data[0])], data[1:])
    return Event(number, int(epoch), float(at), name, data)


def _end_data(job_id: str, state: State, text: str) -> str:
    result = text if state is State.SUCCEEDED else None
    return end_event_payload(job_id, state, result, load_problem(text) if state is State.FAILED and text else None)


def _failure(text: str) -> Failure:
    header, fields = text.split("\n", 1)
    attempt, at = header.split(" ")
    problem, error, traceback = json.loads(fields)
    return Failure(problem=load_problem(problem), error=error, traceback=traceback, attempt=int(attempt), at=float(at))
