"""Validation of every item of a call before a store writes the first of them (rule 16)."""

import math
from dataclasses import replace
from operator import attrgetter

from sidelane.model.batch import BatchSpec
from sidelane.model.errors import JobRefused
from sidelane.model.ids import is_id
from sidelane.model.job import MAX_TEXT, Failure, JobSpec, labels_error
from sidelane.model.json_text import is_storable
from sidelane.model.limit import Limit
from sidelane.model.outcome import Dispatched, Failed, Outcome
from sidelane.model.problem import Problem
from sidelane.model.schedule import Schedule
from sidelane.stores.problems import not_submittable

_MAX_INTEGER = 2**63 - 1

_TEXTS = ("task", "queue", "user", "key", "unique", "parent", "trace", "batch")
_OPTIONAL = frozenset({"user", "key", "unique", "parent", "trace", "batch"})
_INTEGERS = ("version", "priority", "max_worker_losses", "max_queued", "max_log_size")
_DURATIONS = ("delay", "run_at", "expires", "deadline", "retention", "abandon_after", "id_retention")
_texts, _integers, _durations = attrgetter(*_TEXTS), attrgetter(*_INTEGERS), attrgetter(*_DURATIONS)


def spec_problem(spec: JobSpec) -> Problem | None:
    """Return why a spec is invalid, or None."""
    if not is_id(spec.id):
        return not_submittable(f"{spec.id[:200]!a} is not a job id: use 1 to 128 of the characters A-Z a-z 0-9 . _ ~ -")
    problem = _text_problem(spec) or _number_problem(spec) or _label_problem(spec)
    for limit in spec.limits:
        problem = problem or _limit_problem(limit)
    for follow_up in spec.follow_ups:  # submitted in the step that finishes the job, which must not fail
        problem = problem or spec_problem(replace(follow_up.spec, id=spec.id))
    return problem


def valid_outcome(outcome: Outcome) -> Outcome:
    """Return the outcome, or a failure with the reason if its dispatch job is invalid."""
    if not isinstance(outcome, Dispatched):
        return outcome
    problem = spec_problem(outcome.sending)
    if math.isnan(outcome.timeout):
        problem = problem or not_submittable("The timeout of an external task is not a number of seconds.")
    return Failed(Failure(problem=problem)) if problem else outcome


def check_batch(spec: BatchSpec) -> None:
    """Raise `JobRefused` if a batch or one of its follow-ups is invalid.

    All fields of a batch are fields of a job, so a batch is checked as a job.
    """
    _check(JobSpec(id=spec.id, task="", user=spec.user, retention=spec.retention, follow_ups=spec.follow_ups))


def check_schedule(schedule: Schedule) -> None:
    """Raise `JobRefused` if a schedule or its job is invalid."""
    for name in (schedule.name, *schedule.aliases):
        if not is_storable(name):
            raise JobRefused(not_submittable(f"The schedule's name {name[:200]!a} cannot be written as UTF-8."))
    _check(replace(schedule.spec, id="template"))


def _check(spec: JobSpec) -> None:
    problem = spec_problem(spec)
    if problem:
        raise JobRefused(problem)


def _text_problem(spec: JobSpec) -> Problem | None:
    texts = _texts(spec)
    if "" in texts:
        for name, text in zip(_TEXTS, texts, strict=True):
            if text == "" and name in _OPTIONAL:
                return not_submittable(f"The {name} is empty: use None for no {name}.")
    joined = "".join(filter(None, texts))
    if len(joined) > MAX_TEXT:
        for name, text in zip(_TEXTS, texts, strict=True):
            if text is not None and len(text) > MAX_TEXT:
                return not_submittable(f"The {name} has {len(text):,} characters; use at most {MAX_TEXT}.")
    if not joined.isascii():
        for name, text in zip(_TEXTS, texts, strict=True):
            if text is not None and not is_storable(text):
                return not_submittable(f"The {name} {text[:200]!a} cannot be written as UTF-8.")
    return None


def _label_problem(spec: JobSpec) -> Problem | None:
    error = labels_error(spec.labels) if spec.labels else None
    return None if error is None else not_submittable(error)


def _number_problem(spec: JobSpec) -> Problem | None:
    for integer in _integers(spec):
        if integer is not None and not -_MAX_INTEGER <= integer <= _MAX_INTEGER:
            return not_submittable(f"The {_name_of(spec, _INTEGERS, integer)} {integer} is too large.")
    for seconds in _durations(spec):
        if seconds is not None and math.isnan(seconds):
            return not_submittable(f"The {_name_of(spec, _DURATIONS, seconds)} is not a number of seconds.")
    return None


def _limit_problem(limit: Limit) -> Problem | None:
    if not is_storable(limit.id):
        return not_submittable(
            f"The key {limit.key[:200]!a} of the limit {limit.name[:200]!a} cannot be written as UTF-8."
        )
    if not (1 <= limit.max <= _MAX_INTEGER and 1 <= limit.burst <= _MAX_INTEGER):
        return not_submittable(
            f"The limit {limit.name!r} has the maximum {limit.max} and the burst {limit.burst}: use 1 to {_MAX_INTEGER}."
        )
    if limit.window is not None and not 0.0 < limit.window < math.inf:
        return not_submittable(
            f"The window {limit.window} of the limit {limit.name!r} is not a positive number of seconds."
        )
    return None


def _name_of(spec: JobSpec, names: tuple[str, ...], value: float) -> str:
    return next(name for name in names if getattr(spec, name) is value)
