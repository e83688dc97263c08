"""Limits of a call: the names of its task's and queue's limits, and the keys by which the call is counted (rule 14)."""

import hashlib
import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sidelane.model.errors import ArgumentsError
from sidelane.model.job import JobSpec
from sidelane.model.json_text import is_storable
from sidelane.model.limit import Limit, LimitPolicy, RateLimit
from sidelane.model.queue import Queue

MAX_KEY_LENGTH = 200
"""Maximum characters of a key. A longer key is replaced by its digest."""

MAX_NAME_LENGTH = 60
"""Maximum characters of a default name, without the suffix that distinguishes equal names ("-2")."""

KEY_MISSING = "limit key missing"


@dataclass(frozen=True, slots=True)
class NamedLimit:
    """A declared limit with its name. `parameters` is how many arguments its `per` function takes, if it has one."""

    declared: LimitPolicy
    name: str
    parameters: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitKeys:
    """The keys of one call.

    `arguments` returns the call's values in the order of the task's parameters, up to the first placeholder.
    """

    task: str
    queue: str
    user: str | None
    arguments: Callable[[], Sequence[Any]]

    def bind(self, limits: Iterable[NamedLimit]) -> tuple[Limit, ...]:
        """Return the limits with this call's keys. Raises `ArgumentsError` if a limit has no key."""
        return tuple(named.declared.limit(named.name, self._key(named)) for named in limits)

    def _key(self, named: NamedLimit) -> str:
        per = named.declared.per
        if callable(per):
            return _short(self._computed(per, named))
        if per == "user":
            if self.user is None:
                raise ArgumentsError(
                    f"{self.task}: {KEY_MISSING}: its limit {named.name!r} is per user, and this call has no user. "
                    "Submit it with options(user=…); `Jobs(user=…)` sets the user of requests."
                )
            return _short(self.user)
        return _short(self.task if per == "task" else self.queue)

    def _computed(self, per: Callable[..., Any], named: NamedLimit) -> str:
        values = self.arguments()[: named.parameters]
        try:
            key = per(*values)
        except Exception as error:
            known = (
                "" if len(values) == named.parameters else ", because not all its arguments are known before it starts"
            )
            raise ArgumentsError(
                f"{self.task}: {KEY_MISSING}: the function of its limit {named.name!r} raised {type(error).__name__}{known}."
            ) from error
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise ArgumentsError(
                f"{self.task}: {KEY_MISSING}: the function of its limit {named.name!r} returned "
                f"{'None' if key is None else type(key).__name__}; a key is a string or a whole number."
            )
        return str(key)


def named_limits(task: str, limits: Sequence[LimitPolicy], queue: Queue, parameters: int) -> tuple[NamedLimit, ...]:
    """Return the limits of a task and its queue, with their names. `parameters` is the number of the task's arguments.

    Raises ValueError with a sentence if a `per` function does not match the task, or if the name of a rate is not unique.
    """
    named = [*_named(task, limits), *_named(f"queue-{queue.name}", queue.limits)]
    names = [name for _, name in named]
    for declared, name in named:
        if isinstance(declared, RateLimit) and names.count(name) > 1:
            raise ValueError(
                f"two of its limits are named {name!r}; the name of a rate must be unique among the limits of a job."
            )
    return tuple(
        NamedLimit(declared, name, _parameter_count(declared.per, name, parameters) if callable(declared.per) else 0)
        for declared, name in named
    )


def are_compatible(one: LimitPolicy, other: LimitPolicy) -> bool:
    """Return whether two limits may have the same name: both are slots, or both the same rate."""
    if isinstance(one, RateLimit) and isinstance(other, RateLimit):
        a, b = one.limit("", ""), other.limit("", "")
        return (a.max, a.window, a.burst) == (b.max, b.window, b.burst)
    return type(one) is type(other)


def as_waiting(spec: JobSpec) -> JobSpec:
    """Return a job that waits for each limit and ignores `max_queued` (rule 9), because no caller would see a rejection."""
    return replace(spec, limits=tuple(replace(limit, on_limit="wait") for limit in spec.limits), max_queued=None)


def _named(prefix: str, limits: Sequence[LimitPolicy]) -> list[tuple[LimitPolicy, str]]:
    """Return limits with their names.

    The default name is derived from `per`, and a second limit with the same default name gets "-2".
    """
    used = {declared.name for declared in limits if declared.name}
    named = []
    for declared in limits:
        name = declared.name
        if not name:
            first = name = _valid_name(f"{prefix}-per-{_scope(declared.per)}")
            number = 1
            while name in used:
                number += 1
                name = f"{first}-{number}"
            used.add(name)
        named.append((declared, name))
    return named


def _scope(per: Any) -> str:
    if isinstance(per, str):
        return per
    name = str(getattr(per, "__name__", "key"))
    return "key" if name == "<lambda>" else name


def _valid_name(text: str) -> str:
    """Return a text as the name of a limit. If it had to be changed, a digest keeps it unique."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "-", text)
    if plain == text and len(text) <= MAX_NAME_LENGTH:
        return text
    return f"{plain[: MAX_NAME_LENGTH - 9]}-{_digest(text)[:8]}"


def _short(key: str) -> str:
    if len(key) <= MAX_KEY_LENGTH and is_storable(key):
        return key
    return f"sha256-{_digest(key)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _parameter_count(per: Callable[..., Any], name: str, parameters: int) -> int:
    """Return how many of a task's arguments a limit's function takes by position."""
    if inspect.iscoroutinefunction(per):
        raise ValueError(f"the function of its limit {name!r} is asynchronous; it must be a plain function.")
    try:
        found = inspect.signature(per).parameters.values()
    except (TypeError, ValueError):
        raise ValueError(
            f"the parameters of the function of its limit {name!r} cannot be read; write a lambda."
        ) from None
    required = [
        each
        for each in found
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if any(each.kind is each.KEYWORD_ONLY for each in required):
        raise ValueError(f"the function of its limit {name!r} gets the task's arguments by position, not by name.")
    if len(required) > parameters:
        raise ValueError(
            f"the function of its limit {name!r} takes {len(required)} arguments, and the task has {parameters}."
        )
    if any(each.kind is each.VAR_POSITIONAL for each in found):
        return parameters
    by_position = [each for each in found if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    return min(len(by_position), parameters)
