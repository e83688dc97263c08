"""Limits: how many jobs may be under way, or come in a time, for each user, task, queue or value of the arguments (rules 14)."""

import re
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

OnLimit = Literal["reject", "wait", "replace"]

Key = str | int
"""What a limit counts by. `per` functions give one."""

Per = Literal["user", "task", "queue"] | Callable[..., Key]

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

_RATE = re.compile(r"\s*(\d+)\s*/\s*(?:(\d+)\s*)?([a-z]+)\s*")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_WORDS = {"sec": "s", "second": "s", "min": "m", "minute": "m", "hour": "h", "day": "d"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit as it binds one job: the policy, and the key that `per` gave for this job. What a store keeps and counts by.

    Without a `window` it is a number of slots: "reject" takes one from the submit to the end of the job, "wait" and "replace"
    take one while the job runs. With a `window` (seconds) it is a rate, `most` in each, of which `burst` may come at once:
    "reject" counts submits, "wait" counts starts.
    """

    name: str  # the policy's, as clients and operators read it
    key: str
    most: int
    on_limit: OnLimit = "reject"
    window: float | None = None
    burst: int = 1

    @property
    def id(self) -> str:
        """What jobs that share this limit have in common."""
        return f"{self.name}/{self.key}"

    @property
    def every(self) -> float | None:
        """Of a rate: seconds until one more may come."""
        return None if self.window is None else self.window / self.most

    @property
    def at_start(self) -> bool:
        """Whether it is checked when a job starts, rather than when it is submitted."""
        return self.on_limit != "reject"


@dataclass(frozen=True, slots=True)
class LimitHit:
    """A limit that keeps a job out. `after` is in how many seconds there is room again, where that is known."""

    limit: Limit
    after: float | None = None


@dataclass(frozen=True, slots=True)
class ConcurrencyLimit:
    """At most so many jobs at once `per` user, task, queue, or value of a function of the task's arguments.

    `when_full`: "reject" refuses the next one (429) while so many are unfinished, waiting ones included; "wait" lets so many run
    and the others wait for their turn; "replace" asks the oldest to stop, and the new one starts when it has. Declarations with
    one `name` share their slots.
    """

    most: int
    _: KW_ONLY
    per: Per
    on_limit: OnLimit = "reject"
    name: str = ""

    def invalid_reason(self) -> str | None:
        """Say what is wrong with this declaration, if anything is."""
        if not _is_count(self.most):
            return f"Concurrent({self.most!r}): this is a number of jobs, at least 1."
        if self.on_limit not in ("reject", "wait", "replace"):
            return f"Concurrent(…, on_limit={self.on_limit!r}): this is 'reject', 'wait' or 'replace'."
        return _wrong_scope("ConcurrencyLimit", self.per, self.name)

    def limit(self, name: str, key: str) -> Limit:
        """Give the limit that binds a job with this key."""
        return Limit(name=name, key=key, most=self.most, on_limit=self.on_limit)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most so many jobs in a time: "10/minute", "100/15 minutes", "5/s"; `per` as for `Concurrent`.

    `burst` (by default the whole number) may come at once; after it, one comes free every share of the time (GCRA). `when_full`:
    "reject" refuses a submit (429); "wait" spreads the starts, retries among them.
    """

    rate: str
    _: KW_ONLY
    per: Per
    burst: int | None = None
    on_limit: Literal["reject", "wait"] = "reject"
    name: str = ""

    def invalid_reason(self) -> str | None:
        """Say what is wrong with this declaration, if anything is."""
        if self._parsed() is None:
            return f"Rate({self.rate!r}): write a number and a time, as in '10/minute', '100/15 minutes' or '5/s'."
        if self.burst is not None and not _is_count(self.burst):
            return f"Rate({self.rate!r}, burst={self.burst!r}): this is a number of jobs, at least 1."
        if self.on_limit not in ("reject", "wait"):
            return f"Rate({self.rate!r}, on_limit={self.on_limit!r}): this is 'reject' or 'wait'."
        return _wrong_scope("RateLimit", self.per, self.name)

    def limit(self, name: str, key: str) -> Limit:
        """Give the limit that binds a job with this key."""
        most, window = self._parsed() or (1, 1.0)
        return Limit(
            name=name, key=key, most=most, on_limit=self.on_limit, window=window, burst=self.burst or most
        )  # fmt: skip

    def _parsed(self) -> tuple[int, float] | None:
        """Read the number and the seconds."""
        found = _RATE.fullmatch(str(self.rate))
        if found is None:
            return None
        most, times, word = int(found[1]), int(found[2] or 1), found[3]
        unit = _UNITS.get(_WORDS.get(word.removesuffix("s"), word))
        return None if unit is None or most < 1 or times < 1 else (most, times * unit)


LimitPolicy = ConcurrencyLimit | RateLimit
"""What tasks and queues declare."""


def validate_limits(limits: object) -> str | None:
    """Say what is wrong with the `limits=[…]` of a declaration, if anything is."""
    if not isinstance(limits, list | tuple) or not all(
        isinstance(each, ConcurrencyLimit | RateLimit) for each in limits
    ):
        return f"limits={limits!r}: this is a list of Concurrent(…) and Rate(…)."
    return next((wrong for each in limits if (wrong := each.invalid_reason())), None)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _wrong_scope(kind: str, per: Any, name: Any) -> str | None:
    if per not in ("user", "task", "queue") and not callable(per):
        return f"{kind}(…, per={per!r}): this is 'user', 'task', 'queue' or a function of the task's arguments."
    if name != "" and not (isinstance(name, str) and NAME.fullmatch(name)):
        return f"{kind}(…, name={name!r}): a name is 1 to 64 letters, digits or any of '_.-'."
    return None
