"""Timeline of one job, and where its time went."""

from collections import defaultdict
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from sidelane.admin.documents import Document, time_text
from sidelane.model.job import JobRecord
from sidelane.model.transition import Change, timeline


class Phase(StrEnum):
    """What a job spends its time on."""

    QUEUED = "queued"  # until its due time, or until a worker takes it
    WAITING_FOR_LIMIT = "waiting for limit"
    RUNNING = "running"
    REPEATED = "repeated"  # attempts that another attempt followed


PHASES: Final = {
    Change.SUBMITTED: Phase.QUEUED,
    Change.BLOCKED: Phase.WAITING_FOR_LIMIT,
    Change.UNBLOCKED: Phase.QUEUED,
    Change.STARTED: Phase.RUNNING,
    Change.RETRIED: Phase.QUEUED,
    Change.RELEASED: Phase.QUEUED,
    Change.LOST: Phase.QUEUED,
    Change.ENDED: None,
    Change.REQUEUED: Phase.QUEUED,
}
"""The phase that begins with a change. Other changes happen within a phase."""


def time_spent(record: JobRecord, now: float) -> Mapping[Phase, float]:
    """Return the seconds that a job has spent on each phase until its end or `now`, without phases of no time."""
    spent: dict[Phase, float] = defaultdict(float)
    phase, since = None, record.submitted
    for each in timeline(record):
        if each.change in PHASES:
            if phase is Phase.RUNNING and PHASES[each.change] is Phase.QUEUED:
                phase = Phase.REPEATED
            if phase is not None:
                spent[phase] += each.at - since
            phase, since = PHASES[each.change], each.at
    if phase is not None:
        spent[phase] += now - since
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
