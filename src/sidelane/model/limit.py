"""Limits: how many jobs may be unfinished or run concurrently, or start per time, by user, task, queue or arguments (rule 14)."""

import re
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from sidelane.model.checks import is_count

OnLimit = Literal["reject", "wait", "replace"]

Key = str | int
"""The key by which a limit counts, i.e. the result of a `per` function."""

Per = Literal["user", "task", "queue"] | Callable[..., Key]

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

    `on_limit` is what happens at the limit. "reject" refuses a submit (429) while the limit's number of jobs is unfinished,
    including queued jobs. "wait" runs that number of jobs, and the others wait. "replace" cancels the oldest job, and the new job
    starts when the oldest has ended. Limits with the same `name` share their slots.
    """

    max: int
    _: KW_ONLY
    per: Per
    on_limit: OnLimit = "reject"
    name: str = ""

    def invalid_reason(self) -> str | None:
        """Return what is wrong with this declaration, or None."""
        if not is_count(self.max):
            return f"ConcurrencyLimit({self.max!r}): this is a number of jobs, at least 1."
        if self.on_limit not in ("reject", "wait", "replace"):
            return f"ConcurrencyLimit(…, on_limit={self.on_limit!r}): this is 'reject', 'wait' or 'replace'."
        return _scope_error("ConcurrencyLimit", self.per, self.name)

    def limit(self, name: str, key: str) -> Limit:
        """Return the limit of a job with this key."""
        return Limit(name=name, key=key, max=self.max, on_limit=self.on_limit)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Limits the number of jobs per time: "10/minute", "100/15 minutes", "5/s". `per` is as for `ConcurrencyLimit`.

    `burst` jobs (by default the whole number) may come at the same time. After that, one more job is allowed at even intervals
    (GCRA). With `on_limit="reject"`, a submit is refused (429). With "wait", starts are delayed, including those of retries.
    """

    rate: str
    _: KW_ONLY
    per: Per
    burst: int | None = None
    on_limit: Literal["reject", "wait"] = "reject"
    name: str = ""

    def invalid_reason(self) -> str | None:
        """Return what is wrong with this declaration, or None."""
        if self._parsed() is None:
            return f"RateLimit({self.rate!r}): write a number and a time, as in '10/minute', '100/15 minutes' or '5/s'."
        if self.burst is not None and not is_count(self.burst):
            return f"RateLimit({self.rate!r}, burst={self.burst!r}): this is a number of jobs, at least 1."
        if self.on_limit not in ("reject", "wait"):
            return f"RateLimit({self.rate!r}, on_limit={self.on_limit!r}): this is 'reject' or 'wait'."
        return _scope_error("RateLimit", self.per, self.name)

    def limit(self, name: str, key: str) -> Limit:
        """Return the limit of a job with this key."""
        count, window = self._parsed() or (1, 1.0)
        return Limit(
            name=name, key=key, max=count, on_limit=self.on_limit, window=window, burst=self.burst or count
        )  # fmt: skip

    def _parsed(self) -> tuple[int, float] | None:
        """Return the number of jobs and the seconds of the rate, or None if the rate is invalid."""
        found = _RATE.fullmatch(str(self.rate))
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
