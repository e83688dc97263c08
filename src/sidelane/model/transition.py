"""Transitions of a job: when it was submitted, started, waited for a limit, lost its worker, and ended.

A store keeps those that its other columns do not tell, as text: one JSON list a line, oldest first.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sidelane.model.job import JobRecord, State
from sidelane.model.json_text import dump_json

MAX_TRANSITIONS: Final = 8192
"""Maximum characters of a job's stored transitions. The oldest are dropped beyond it."""


class Change(StrEnum):
    """What happened to a job. The values are those of the stored text."""

    SUBMITTED = "submitted"  # not stored
    BLOCKED = "blocked"  # it waits for a limit; `detail` is the limit's id
    UNBLOCKED = "unblocked"  # the limit has a slot for it
    PAUSED = "paused"  # a claim has found that its batch is paused
    RESUMED = "resumed"  # its batch was resumed
    STARTED = "started"  # `detail` is the id of the worker, with its `release`; stored when the attempt ends and the job does not
    FIRST_EVENT = "first event"  # of the attempt; stored when the attempt ends and the job does not
    RETRIED = "retried"  # the attempt failed, and another follows
    RELEASED = "released"  # the attempt was handed back
    LOST = "lost"  # the worker was lost; `detail` is how it died, if that is known
    DISPATCHED = "dispatched"  # the attempt continues at an external worker
    ENDED = "ended"  # `detail` is the state; stored when the job is requeued
    REQUEUED = "requeued"


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of a job, at a time of the store's clock."""

    change: Change
    at: float
    detail: str = ""
    release: str = ""


def dump_transition(change: Change, at: float, detail: str = "", release: str = "") -> str:
    """Return the stored line of a transition, which ends with a line feed."""
    values: list[object] = [change.value, round(at, 3), detail, release]
    while values[-1] == "":
        values.pop()
    return dump_json(values) + "\n"


def load_transitions(text: str) -> list[Transition]:
    """Return the stored transitions, oldest first. A first line that was cut is left out."""
    return list(_load(text))


def _load(text: str) -> Iterator[Transition]:
    for line in text.split("\n"):  # `splitlines` would also split at separators within a text
        try:
            change, at, *rest = json.loads(line)
            yield Transition(Change(change), float(at), *map(str, rest))
        except (ValueError, TypeError):
            continue


def timeline(record: JobRecord) -> list[Transition]:
    """Return everything that happened to a job, oldest first."""
    found = [Transition(Change.SUBMITTED, record.submitted), *_load(record.transitions)]
    if record.last_worker is not None:
        found.append(_newest_start(record, record.last_worker))
    if record.first_event is not None:
        found.append(Transition(Change.FIRST_EVENT, record.first_event))
    if record.ended is not None and record.state is not State.QUEUED:
        found.append(Transition(Change.ENDED, record.ended, record.state))
    return found


def last_start(record: JobRecord) -> Transition | None:
    """Return the start of a job's newest attempt, with its worker and release, or None before the first."""
    if record.last_worker is not None:
        return _newest_start(record, record.last_worker)
    starts = [each for each in _load(record.transitions) if each.change is Change.STARTED]
    return starts[-1] if starts else None


def _newest_start(record: JobRecord, worker: str) -> Transition:
    return Transition(Change.STARTED, record.started or record.submitted, worker, record.release)
