"""JSON serialization of values inside a store. Loading returns an equal value."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from operator import attrgetter
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from sidelane.model.batch import BatchSpec
from sidelane.model.history import MAX_USAGE, Usage, UserUsage
from sidelane.model.job import FollowUp, JobSpec, State
from sidelane.model.json_text import dump_json
from sidelane.model.limit import Limit
from sidelane.model.problem import Problem
from sidelane.model.schedule import Schedule
from sidelane.model.worker import WorkerInfo


def dumps(value: object) -> str:
    """Return JSON text. Lone surrogates, which texts of a task may contain, are escaped."""
    try:
        return to_json(value).decode()
    except PydanticSerializationError:
        return dump_json(value)


def dump_problem(problem: Problem) -> str:
    return dumps(_non_default_fields(problem))


def load_problem(text: str) -> Problem:
    return Problem(**json.loads(text))


def dump_usage(usage: Usage) -> tuple[int, int, int]:
    """Return input tokens, output tokens, and the cost in millionths of the currency's unit. A store adds such amounts up."""
    return usage.input_tokens, usage.output_tokens, round(usage.cost * 1_000_000)


def load_usage(input_tokens: int, output_tokens: int, cost_micros: int) -> Usage:
    """Return what the attempts of a job used together. A sum counts up to the maximum of one attempt."""
    return Usage(
        input_tokens=min(input_tokens, MAX_USAGE),
        output_tokens=min(output_tokens, MAX_USAGE),
        cost=min(cost_micros / 1_000_000, MAX_USAGE),
    )


def load_user_usage(
    at: float, user: str, submitted: int, refused: int, run_ms: int, tokens: int, cost_micros: int
) -> UserUsage:
    """Return what a user did in an hour, from the amounts that a store adds up."""
    return UserUsage(
        at=at, user=user, submitted=submitted, refused=refused, run_time=run_ms / 1000, tokens=tokens,
        cost=cost_micros / 1_000_000,
    )  # fmt: skip


_WORKER_FIELDS = frozenset(field.name for field in fields(WorkerInfo))


def dump_worker(worker: WorkerInfo) -> str:
    return dumps(_non_default_fields(worker))


def load_worker(text: str) -> WorkerInfo:
    """Return a description. It may be of another version, so unknown fields are ignored."""
    return WorkerInfo(**{name: value for name, value in json.loads(text).items() if name in _WORKER_FIELDS})


def dump_labels(labels: Mapping[str, str]) -> str | None:
    return dumps(dict(labels)) if labels else None


def load_labels(text: str | None) -> dict[str, str]:
    return json.loads(text) if text else {}


def dump_follow_ups(follow_ups: tuple[FollowUp, ...]) -> str | None:
    return dumps(_follow_ups_document(follow_ups)) if follow_ups else None


def load_follow_ups(text: str | None) -> tuple[FollowUp, ...]:
    return _follow_ups(json.loads(text)) if text else ()


def dump_limits(limits: tuple[Limit, ...]) -> str | None:
    return dumps(_limits_document(limits)) if limits else None


def load_limits(text: str | None) -> tuple[Limit, ...]:
    return _limits(json.loads(text)) if text else ()


def dump_limit(limit: Limit) -> str:
    """Return one limit as JSON text without line breaks."""
    return dumps(_FIELDS[Limit].members(limit))


def load_limit(text: str) -> Limit:
    return Limit(**dict(zip(_FIELDS[Limit].names, json.loads(text), strict=False)))  # older lines have fewer fields


def dump_batch(batch: BatchSpec) -> str:
    document = _non_default_fields(batch)
    if batch.follow_ups:
        document["follow_ups"] = _follow_ups_document(batch.follow_ups)
    return dumps(document)


def load_batch(text: str) -> BatchSpec:
    document = json.loads(text)
    return BatchSpec(**{**document, "follow_ups": _follow_ups(document.get("follow_ups", []))})


def dump_schedule(schedule: Schedule) -> str:
    return dumps({**_non_default_fields(schedule), "spec": dump_spec(schedule.spec)})


def load_schedule(text: str) -> Schedule:
    document = json.loads(text)
    aliases = tuple(document.get("aliases", ()))
    return Schedule(**{**document, "spec": load_spec(document["spec"]), "aliases": aliases})


def _follow_ups_document(follow_ups: tuple[FollowUp, ...]) -> list[Any]:
    return [[sorted(follow_up.on), dump_spec(follow_up.spec)] for follow_up in follow_ups]


def _follow_ups(document: list[Any]) -> tuple[FollowUp, ...]:
    return tuple(FollowUp(frozenset(map(State, on)), load_spec(spec)) for on, spec in document)


def dump_spec(spec: JobSpec) -> dict[str, Any]:
    """Return the fields of a spec that differ from their defaults, ready for JSON."""
    document = _non_default_fields(spec)
    if spec.follow_ups:
        document["follow_ups"] = _follow_ups_document(spec.follow_ups)
    if spec.limits:
        document["limits"] = _limits_document(spec.limits)
    return document


def load_spec(document: dict[str, Any]) -> JobSpec:
    """Return the spec that `dump_spec` has dumped."""
    if "follow_ups" in document:
        document = {**document, "follow_ups": _follow_ups(document["follow_ups"])}
    if "limits" in document:
        document = {**document, "limits": _limits(document["limits"])}
    return JobSpec(**document)


def _limits_document(limits: tuple[Limit, ...]) -> list[Any]:
    return [_non_default_fields(limit) for limit in limits]


def _limits(document: list[Any]) -> tuple[Limit, ...]:
    return tuple(Limit(**each) for each in document)


Stored = Problem | WorkerInfo | JobSpec | Limit | BatchSpec | Schedule
"""The frozen values that are stored as JSON objects."""


class _Fields:
    """The fields of a frozen class: names, defaults, and a getter for all values."""

    def __init__(self, kind: type[Stored]) -> None:
        found = fields(kind)
        self.names = [field.name for field in found]
        self.defaults = [
            field.default_factory() if field.default_factory is not MISSING else field.default for field in found
        ]
        self.members = attrgetter(*self.names)


_NOT_MAPPINGS = frozenset({str, int, float, bool, tuple})  # a check for `Mapping` is slow

_FIELDS = {kind: _Fields(kind) for kind in (Problem, WorkerInfo, JobSpec, Limit, BatchSpec, Schedule)}


def _non_default_fields(value: Stored) -> dict[str, Any]:
    """Return the fields that differ from their defaults; loading fills in the defaults."""
    known = _FIELDS[type(value)]
    return {
        name: member if type(member) in _NOT_MAPPINGS else dict(member) if isinstance(member, Mapping) else member
        for name, member, default in zip(known.names, known.members(value), known.defaults, strict=True)
        if member is not default and member != default
    }
