"""Limits: how many jobs may be unfinished or run concurrently, or start per time, by user, task, queue or arguments (rule 14)."""

import re
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from sidelane.model.checks import is_count, is_duration
from sidelane.model.durations import Duration, to_seconds
from sidelane.model.json_text import is_storable

OnLimit = Literal["reject", "wait", "replace"]

Key = str | int
"""The key by which a limit counts, i.e. the result of a `per` function."""

Per = Literal["user", "task", "queue"] | Callable[..., Key]

MAX_MESSAGE_LENGTH = 500
"""Characters. The message is stored with each job of the limit."""

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

_RATE = re.compile(r"\s*(\d+)\s*/\s*(?:(\d+)\s*)?([a-z]+)\s*")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_UNIT_NAMES = {"sec": "s", "second": "s", "min": "m", "minute": "m", "hour": "h", "day": "d"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit of one job, as a store keeps it: the policy, and the key that `per` returned for this job.

    Without a `window`, a limit is a number of slots. With "reject" a job takes a slot from its submit to its end, and with "wait"
    and "replace" while it runs. With a `window` (seconds), a limit is a rate of `max` jobs per window, of which `burst` may come at
    the same time. A rate with "reject" counts submits, and a rate with "wait" counts starts.
    """

    name: str  # the policy's, shown to clients and operators
    key: str
    max: int
    on_limit: OnLimit = "reject"
    window: float | None = None
    burst: int = 1
    message: str = ""  # of its refusals, in place of a description; no part of its identity

    @property
    def id(self) -> str:
        """Id of the limit, which is the same for all jobs that share it."""
        return f"{self.name}/{self.key}"

    @property
    def every(self) -> float | None:
        """The seconds between two jobs at a steady rate; None without a rate."""
        return None if self.window is None else self.window / self.max

    @property
    def at_start(self) -> bool:
        """Whether the limit is checked when a job starts, rather than when the job is submitted."""
        return self.on_limit != "reject"


@dataclass(frozen=True, slots=True)
class LimitHit:
    """A limit that is used up. `after` is the number of seconds until it allows one more job, if that is known."""

    limit: Limit
    after: float | None = None


@dataclass(frozen=True, slots=True)
class ConcurrencyLimit:
    """Limits the number of concurrent jobs `per` user, task, queue, or result of a function of the task's arguments.

    With `on_limit="reject"`, a submit is refused (429) while `max` jobs are unfinished, including queued ones. With "wait", at most
    `max` jobs run, and the others wait. With "replace", the oldest job is cancelled, and the new job starts when the oldest has
    ended. Limits with the same `name` share their slots. `message` is what clients read when the limit refuses a submit.
    """

    max: int
    _: KW_ONLY
    per: Per
    on_limit: OnLimit = "reject"
    name: str = ""
    message: str = ""

    def invalid_reason(self) -> str | None:
        """Return what is wrong with this declaration, or None."""
        if not is_count(self.max):
            return f"ConcurrencyLimit({self.max!r}): this is a number of jobs, at least 1."
        if self.on_limit not in ("reject", "wait", "replace"):
            return f"ConcurrencyLimit(…, on_limit={self.on_limit!r}): this is 'reject', 'wait' or 'replace'."
        return _scope_error("ConcurrencyLimit", self.per, self.name) or _message_error("ConcurrencyLimit", self.message)

    def limit(self, name: str, key: str) -> Limit:
        """Return the limit of a job with this key."""
        return Limit(name=name, key=key, max=self.max, on_limit=self.on_limit, message=self.message)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Limits the number of jobs per time. `per` and `message` are as for `ConcurrencyLimit`.

    A rate is "10/minute", "100/15 minutes" or "5/s", or a number of jobs with a `window`: a timedelta or seconds.
    `burst` jobs (by default the whole number) may come at once; then one more is allowed at even intervals (GCRA). With
    `on_limit="reject"`, a submit is refused (429). With "wait", starts are delayed, including those of retries.
    """

    rate: str | int
    _: KW_ONLY
    per: Per
    window: Duration | None = None
    burst: int | None = None
    on_limit: Literal["reject", "wait"] = "reject"
    name: str = ""
    message: str = ""

    def invalid_reason(self) -> str | None:
        """Return what is wrong with this declaration, or None."""
        if self._parsed() is None:
            return (
                f"{self._written}: write a number and a time, as in '10/minute', '100/15 minutes' or '5/s', "
                "or a number of jobs and a window above 0, as in RateLimit(100, window=timedelta(minutes=15))."
            )
        if self.burst is not None and not is_count(self.burst):
            return f"RateLimit({self.rate!r}, burst={self.burst!r}): this is a number of jobs, at least 1."
        if self.on_limit not in ("reject", "wait"):
            return f"RateLimit({self.rate!r}, on_limit={self.on_limit!r}): this is 'reject' or 'wait'."
        return _scope_error("RateLimit", self.per, self.name) or _message_error("RateLimit", self.message)

    def limit(self, name: str, key: str) -> Limit:
        """Return the limit of a job with this key."""
        count, window = self._parsed() or (1, 1.0)
        return Limit(
            name=name, key=key, max=count, on_limit=self.on_limit, window=window, burst=self.burst or count,
            message=self.message,
        )  # fmt: skip

    @property
    def _written(self) -> str:
        window = "" if self.window is None else f", window={self.window!r}"
        return f"RateLimit({self.rate!r}{window})"

    def _parsed(self) -> tuple[int, float] | None:
        """Return the number of jobs and the seconds, or None if the rate cannot be read."""
        if not isinstance(self.rate, str) or self.window is not None:
            window = to_seconds(self.window)
            return (self.rate, window) if is_count(self.rate) and is_duration(window) and window > 0 else None
        found = _RATE.fullmatch(self.rate)
        if found is None:
            return None
        count, times, unit_name = int(found[1]), int(found[2] or 1), found[3]
        unit = _UNITS.get(_UNIT_NAMES.get(unit_name.removesuffix("s"), unit_name))
        return None if unit is None or count < 1 or times < 1 else (count, times * unit)


LimitPolicy = ConcurrencyLimit | RateLimit
"""What tasks and queues declare."""


def validate_limits(limits: object) -> str | None:
    """Return the error in the `limits=[…]` of a declaration, or None."""
    if not isinstance(limits, list | tuple) or not all(
        isinstance(each, ConcurrencyLimit | RateLimit) for each in limits
    ):
        return f"limits={limits!r}: this is a list of ConcurrencyLimit(…) and RateLimit(…)."
    return next((reason for each in limits if (reason := each.invalid_reason())), None)


def _scope_error(kind: str, per: Any, name: Any) -> str | None:
    if per not in ("user", "task", "queue") and not callable(per):
        return f"{kind}(…, per={per!r}): this is 'user', 'task', 'queue' or a function of the task's arguments."
    if name != "" and not (isinstance(name, str) and NAME.fullmatch(name)):
        return f"{kind}(…, name={name!r}): a name is 1 to 64 letters, digits or any of '_.-'."
    return None


def _message_error(kind: str, message: object) -> str | None:
    if isinstance(message, str) and len(message) <= MAX_MESSAGE_LENGTH and is_storable(message):
        return None
    return f"{kind}(…, message={message!r}): this is a text of at most {MAX_MESSAGE_LENGTH} characters."
