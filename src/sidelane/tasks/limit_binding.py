"""Limits of a call: what the declarations of its task and queue are called, and by which keys a call is counted (rules 14)."""

import hashlib
import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sidelane.model.codec import is_storable
from sidelane.model.errors import ArgumentsError
from sidelane.model.job import JobSpec
from sidelane.model.limit import Limit, LimitPolicy, RateLimit
from sidelane.model.queue import Queue

MAX_KEY_LENGTH = 200
"""Characters of a key; a longer one is counted by its digest."""

MAX_NAME_LENGTH = 60
"""Characters of a default name, which leaves room for the "-2" of the next one."""

KEY_MISSING = "limit key missing"


@dataclass(frozen=True, slots=True)
class NamedLimit:
    """A declared limit under the name it is counted by. `takes`: how many arguments its function takes, where it has one."""

    declared: LimitPolicy
    name: str
    takes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitKeys:
    """What a call is counted by. `arguments` gives its values in the order of the task's parameters, up to one not known yet."""

    task: str
    queue: str
    user: str | None
    arguments: Callable[[], Sequence[Any]]

    def bind(self, limits: Iterable[NamedLimit]) -> tuple[Limit, ...]:
        """Give the limits with this call's keys. Raises `ArgumentsError` where there is none."""
        return tuple(counted.declared.limit(counted.name, self._key(counted)) for counted in limits)

    def _key(self, counted: NamedLimit) -> str:
        per = counted.declared.per
        if callable(per):
            return _short(self._computed(per, counted))
        if per == "user":
            if self.user is None:
                raise ArgumentsError(
                    f"{self.task}: {KEY_MISSING}: its limit {counted.name!r} counts per user, and this call has no user. "
                    "Submit it with options(user=…); `Jobs(user=…)` gives requests theirs."
                )
            return _short(self.user)
        return _short(self.task if per == "task" else self.queue)

    def _computed(self, per: Callable[..., Any], counted: NamedLimit) -> str:
        values = self.arguments()[: counted.takes]
        try:
            key = per(*values)
        except Exception as error:
            known = "" if len(values) == counted.takes else ", for not all its arguments are known before it starts"
            raise ArgumentsError(
                f"{self.task}: {KEY_MISSING}: the function of its limit {counted.name!r} raised {type(error).__name__}{known}."
            ) from error
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise ArgumentsError(
                f"{self.task}: {KEY_MISSING}: the function of its limit {counted.name!r} gave "
                f"{'None' if key is None else type(key).__name__}; a key is a text or a whole number."
            )
        return str(key)


def named_limits(task: str, limits: Sequence[LimitPolicy], queue: Queue, parameters: int) -> tuple[NamedLimit, ...]:
    """Name the limits that bind a task's jobs: its own and its queue's. `parameters`: how many arguments the task takes.

    Raises ValueError with a sentence on a function that does not fit the task, and on a rate that shares its name.
    """
    named = [*_named(task, limits), *_named(f"queue-{queue.name}", queue.limits)]
    names = [name for _, name in named]
    for declared, name in named:
        if isinstance(declared, RateLimit) and names.count(name) > 1:
            raise ValueError(
                f"two of its limits are named {name!r}; a rate shares its name with no other limit of a job."
            )
    return tuple(
        NamedLimit(declared, name, _takes(declared.per, name, parameters) if callable(declared.per) else 0)
        for declared, name in named
    )


def are_compatible(one: LimitPolicy, other: LimitPolicy) -> bool:
    """Tell whether two limits may have one name: slots are counted together, and so is a rate that is the same for both."""
    if isinstance(one, RateLimit) and isinstance(other, RateLimit):
        return (one.rate, one.burst) == (other.rate, other.burst)
    return type(one) is type(other)


def as_waiting(spec: JobSpec) -> JobSpec:
    """Give a job that nobody is there to be told of a refusal: it waits at each limit, and passes `max_queued` (rules 9)."""
    return replace(spec, limits=tuple(replace(limit, on_limit="wait") for limit in spec.limits), max_queued=None)


def _named(prefix: str, limits: Sequence[LimitPolicy]) -> list[tuple[LimitPolicy, str]]:
    """Pair limits with their names: given, or by what they count per; the second of the same is "…-2"."""
    used = {declared.name for declared in limits if declared.name}
    named = []
    for declared in limits:
        name = declared.name
        if not name:
            first = name = _fitting(f"{prefix}-per-{_scope(declared.per)}")
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


def _fitting(text: str) -> str:
    """Give a text as the name of a limit. What had to be changed carries a digest, so that no two become one."""
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


def _takes(per: Callable[..., Any], name: str, parameters: int) -> int:
    """Count the arguments that a limit's function takes by position, of those the task has."""
    if inspect.iscoroutinefunction(per):
        raise ValueError(f"the function of its limit {name!r} is asynchronous; a key is worked out at once.")
    try:
        found = inspect.signature(per).parameters.values()
    except (TypeError, ValueError):
        raise ValueError(f"what the function of its limit {name!r} takes cannot be read; write a lambda.") from None
    needed = [
        each
        for each in found
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if any(each.kind is each.KEYWORD_ONLY for each in needed):
        raise ValueError(f"the function of its limit {name!r} gets the task's arguments by position, none by name.")
    if len(needed) > parameters:
        raise ValueError(
            f"the function of its limit {name!r} needs {len(needed)} of the task's arguments, which has {parameters}."
        )
    if any(each.kind is each.VAR_POSITIONAL for each in found):
        return parameters
    by_position = [each for each in found if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    return min(len(by_position), parameters)
