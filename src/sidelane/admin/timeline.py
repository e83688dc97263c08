"""Timeline of one job, and where its time went."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from sidelane.admin.documents import Document, time_text
from sidelane.model.job import JobRecord
from sidelane.model.transition import Change, timeline


class Phase(StrEnum):
    """What a job spends its time on."""

    QUEUED = "queued"  # until its due time, or until a worker takes it
    WAITING_FOR_LIMIT = "waiting for limit"
    PAUSED = "paused"  # its batch was paused
    RUNNING = "running"
    REPEATED = "repeated"  # attempts that another attempt followed


WAITS: Final = (Phase.QUEUED, Phase.WAITING_FOR_LIMIT, Phase.PAUSED)
"""The phases in which a job waits."""

PHASES: Final = {
    Change.SUBMITTED: Phase.QUEUED,
    Change.BLOCKED: Phase.WAITING_FOR_LIMIT,
    Change.UNBLOCKED: Phase.QUEUED,
    Change.PAUSED: Phase.PAUSED,
    Change.RESUMED: Phase.QUEUED,
    Change.STARTED: Phase.RUNNING,
    Change.RETRIED: Phase.QUEUED,
    Change.RELEASED: Phase.QUEUED,
    Change.LOST: Phase.QUEUED,
    Change.ENDED: None,
    Change.REQUEUED: Phase.QUEUED,
}
"""The phase that begins with a change. Other changes happen within a phase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt of a job, with times in seconds since 1970. `ended` is None while it runs.

    `end` is how it ended: "retried", "released", "lost", or the state of the job. `detail` says how a lost worker died, if that is
    known.
    """

    number: int
    worker: str
    release: str
    started: float
    first_event: float | None = None
    ended: float | None = None
    end: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A part of a job's time that it spent in one phase. `limit` is the id of the limit that it waited for."""

    phase: Phase
    since: float
    until: float
    limit: str = ""
    attempt: Attempt | None = None

    @property
    def seconds(self) -> float:
        return max(0.0, self.until - self.since)


def attempts_of(record: JobRecord) -> list[Attempt]:
    """Return the attempts of a job, oldest first. Those before the first transition that is still stored are left out."""
    found: list[Attempt] = []
    for each in timeline(record):
        if each.change is Change.STARTED:
            found.append(Attempt(number=0, worker=each.detail, release=each.release, started=each.at))
        elif not found or found[-1].ended is not None:
            continue
        elif each.change is Change.FIRST_EVENT:
            found[-1] = replace(found[-1], first_event=each.at)
        elif each.change in (Change.RETRIED, Change.RELEASED, Change.LOST):
            found[-1] = replace(found[-1], ended=each.at, end=each.change, detail=each.detail)
        elif each.change is Change.ENDED:
            found[-1] = replace(found[-1], ended=each.at, end=each.detail)
    first = record.attempt - len(found) + 1
    return [replace(attempt, number=first + index) for index, attempt in enumerate(found)]


def stages(record: JobRecord, now: float) -> list[Stage]:
    """Return what a job has spent its time on, oldest first, until its end or `now`."""
    runs = iter(attempts_of(record))
    found: list[Stage] = []
    current: Stage | None = None
    for each in timeline(record):
        if each.change not in PHASES:
            continue
        phase = PHASES[each.change]
        if current is not None:
            repeated = current.phase is Phase.RUNNING and phase is Phase.QUEUED
            found.append(replace(current, until=each.at, phase=Phase.REPEATED if repeated else current.phase))
        run = next(runs, None) if each.change is Change.STARTED else None
        limit = each.detail if each.change is Change.BLOCKED else ""
        current = None if phase is None else Stage(phase=phase, since=each.at, until=now, limit=limit, attempt=run)
    return found if current is None else [*found, current]


def time_spent(record: JobRecord, now: float) -> Mapping[Phase, float]:
    """Return the seconds that a job has spent on each phase until its end or `now`, without phases of no time."""
    spent: dict[Phase, float] = defaultdict(float)
    for stage in stages(record, now):
        spent[stage.phase] += stage.seconds
    return {phase: seconds for phase, seconds in spent.items() if seconds > 0}


def tokens_per_second(record: JobRecord) -> float | None:
    """Return the output tokens per second of all attempts of a finished job, or None if it reported none."""
    if record.ended is None or not record.usage.output_tokens:
        return None
    spent = time_spent(record, record.ended)
    seconds = spent.get(Phase.RUNNING, 0.0) + spent.get(Phase.REPEATED, 0.0)
    return record.usage.output_tokens / seconds if seconds else None


def timeline_document(record: JobRecord, now: float) -> Document:
    """Return what happened to a job, and where its time went, as members of a JSON document."""
    return {
        "timeline": [
            {"change": str(each.change), "at": time_text(each.at), "detail": each.detail, "release": each.release}
            for each in timeline(record)
        ],
        "time_spent": {phase.name.lower(): round(seconds, 3) for phase, seconds in time_spent(record, now).items()},
    }
