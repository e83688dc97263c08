"""What is checked of every item before a store writes the first of them (rules 16)."""

import math
from dataclasses import replace
from operator import attrgetter

from sidelane.model.batch import BatchSpec
from sidelane.model.codec import is_storable
from sidelane.model.errors import JobRefused
from sidelane.model.ids import is_id
from sidelane.model.job import Failure, JobSpec
from sidelane.model.limit import Limit
from sidelane.model.outcome import Dispatched, Failed, Outcome
from sidelane.model.problem import Problem
from sidelane.model.schedule import Schedule
from sidelane.stores.problems import not_submittable

_LARGEST = 2**63 - 1

_TEXTS = ("task", "queue", "user", "key", "unique", "parent", "trace", "batch")
_OPTIONAL = frozenset({"user", "key", "unique", "parent", "trace", "batch"})
_WHOLES = ("version", "priority", "max_worker_losses", "max_queued")
_DURATIONS = ("delay", "run_at", "expires", "deadline", "retention", "abandon_after", "id_retention")
_texts, _wholes, _durations = attrgetter(*_TEXTS), attrgetter(*_WHOLES), attrgetter(*_DURATIONS)


def spec_problem(spec: JobSpec) -> Problem | None:
    """Say what keeps a spec from being kept, if anything does."""
    if not is_id(spec.id):
        return not_submittable(f"{spec.id[:200]!a} is no id of a job: use 1 to 128 of the letters A-Z a-z 0-9 . _ ~ -")
    problem = _problem_with_texts(spec) or _problem_with_numbers(spec)
    for limit in spec.limits:
        problem = problem or _problem_with_limit(limit)
    for follow_up in spec.follow_ups:  # they are submitted in the step that ends the job, where nothing may go wrong
        problem = problem or spec_problem(replace(follow_up.spec, id=spec.id))
    return problem


def valid_outcome(outcome: Outcome) -> Outcome:
    """Give an outcome as it can be kept: one that would hand over to a job that cannot be is a failure, with the reason."""
    if not isinstance(outcome, Dispatched):
        return outcome
    problem = spec_problem(outcome.sending)
    if math.isnan(outcome.timeout):
        problem = problem or not_submittable("The timeout of a hand-over is not a number of seconds.")
    return Failed(Failure(problem=problem)) if problem else outcome


def check_batch(spec: BatchSpec) -> None:
    """Raise `JobRefused` where a batch cannot be kept, or a follow-up of it could not be when it ends.

    It has nothing that a job has not.
    """
    _check(JobSpec(id=spec.id, task="", user=spec.user, retention=spec.retention, follow_ups=spec.follow_ups))


def check_schedule(schedule: Schedule) -> None:
    """Raise `JobRefused` where a schedule cannot be kept, or its job could not be when it fires."""
    for name in (schedule.name, *schedule.aliases):
        if not is_storable(name):
            raise JobRefused(not_submittable(f"The schedule's name {name[:200]!a} cannot be written as UTF-8."))
    _check(replace(schedule.spec, id="template"))


def _check(spec: JobSpec) -> None:
    problem = spec_problem(spec)
    if problem:
        raise JobRefused(problem)


def _problem_with_texts(spec: JobSpec) -> Problem | None:
    texts = _texts(spec)
    if "" in texts:
        for name, text in zip(_TEXTS, texts, strict=True):
            if text == "" and name in _OPTIONAL:
                return not_submittable(f"The {name} is an empty text: give None where there is no {name}.")
    if not "".join(filter(None, texts)).isascii():
        for name, text in zip(_TEXTS, texts, strict=True):
            if text is not None and not is_storable(text):
                return not_submittable(f"The {name} {text[:200]!a} cannot be written as UTF-8.")
    return None


def _problem_with_numbers(spec: JobSpec) -> Problem | None:
    for whole in _wholes(spec):
        if whole is not None and not -_LARGEST <= whole <= _LARGEST:
            return not_submittable(f"The {_name_of(spec, _WHOLES, whole)} {whole} is too large.")
    for seconds in _durations(spec):
        if seconds is not None and math.isnan(seconds):
            return not_submittable(f"The {_name_of(spec, _DURATIONS, seconds)} is not a number of seconds.")
    return None


def _problem_with_limit(limit: Limit) -> Problem | None:
    if not is_storable(limit.id):
        return not_submittable(
            f"The key {limit.key[:200]!a} of the limit {limit.name[:200]!a} cannot be written as UTF-8."
        )
    if not (1 <= limit.most <= _LARGEST and 1 <= limit.burst <= _LARGEST):
        return not_submittable(
            f"The limit {limit.name!r} is of {limit.most}, at once {limit.burst}: use 1 to {_LARGEST}."
        )
    if limit.window is not None and not 0.0 < limit.window < math.inf:
        return not_submittable(f"The window {limit.window} of the limit {limit.name!r} is no number of seconds.")
    return None


def _name_of(spec: JobSpec, names: tuple[str, ...], value: float) -> str:
    return next(name for name in names if getattr(spec, name) is value)
