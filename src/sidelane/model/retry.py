"""When a failed attempt is tried again, and how long to wait before it."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from sidelane.model.errors import ConfigurationError


def _is_duration(value: object) -> bool:
    return isinstance(value, int | float) and value >= 0 and math.isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 1


def _are_durations(seconds: object) -> bool:
    return isinstance(seconds, tuple) and len(seconds) > 0 and all(map(_is_duration, seconds))


def _are_errors(types: object) -> bool:
    return isinstance(types, tuple) and all(
        isinstance(each, type) and issubclass(each, BaseException) for each in types
    )


class Backoff(Protocol):
    """How long to wait after the n-th failure, in seconds."""

    def delay(self, failures: int) -> float: ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same wait each time, in seconds."""

    seconds: float

    def __post_init__(self) -> None:
        if not _is_duration(self.seconds):
            raise ConfigurationError(f"Fixed({self.seconds!r}): this is a number of seconds, not below 0.")

    def delay(self, failures: int) -> float:
        return self.seconds


@dataclass(frozen=True, slots=True)
class Exponential:
    """A wait that grows by `factor` from `first` up to `most` seconds, spread by `jitter` (0.2: ten per cent either way)."""

    first: float = 1.0
    factor: float = 2.0
    most: float = 300.0
    jitter: float = 0.2
    random: Callable[[], float] = field(default=random.random, repr=False)

    def __post_init__(self) -> None:
        for name, seconds in (("first", self.first), ("most", self.most)):
            if not _is_duration(seconds):
                raise ConfigurationError(f"Exponential({name}={seconds!r}): this is a number of seconds, not below 0.")
        if not _is_duration(self.factor) or self.factor < 1:
            raise ConfigurationError(f"Exponential(factor={self.factor!r}): a wait grows by a number, at least 1.")
        if not _is_duration(self.jitter) or self.jitter > 2:
            raise ConfigurationError(
                f"Exponential(jitter={self.jitter!r}): this is from 0 to 2, which is all of the wait."
            )

    def delay(self, failures: int) -> float:
        exponent = min(failures - 1, 64)  # keeps the power a finite number
        wait = min(self.first * self.factor**exponent, self.most)
        return wait * (1 + self.jitter * (self.random() - 0.5))


@dataclass(frozen=True, slots=True)
class Delays:
    """A wait of its own after each failure, in seconds, spread by `jitter`; the last one stands for all that come after."""

    seconds: tuple[float, ...]
    jitter: float = 0.2
    random: Callable[[], float] = field(default=random.random, repr=False)

    def __post_init__(self) -> None:
        if not _are_durations(self.seconds):
            raise ConfigurationError(
                f"Steps({self.seconds!r}): this is a tuple of numbers of seconds, not below 0, as (5, 60)."
            )
        if not _is_duration(self.jitter) or self.jitter > 2:
            raise ConfigurationError(f"Steps(jitter={self.jitter!r}): this is from 0 to 2, which is all of the wait.")

    def delay(self, failures: int) -> float:
        wait = self.seconds[min(failures, len(self.seconds)) - 1]
        return wait * (1 + self.jitter * (self.random() - 0.5))


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a task may fail, how long it waits in between, and which errors are worth it.

    `attempts` counts the first one: 1 means that nothing is retried. Errors of `only` are retried, those of `never` are not. An
    error with a `retry_after`, in seconds, is waited for as long as that at least.
    """

    attempts: int = 1
    backoff: Backoff = Exponential()
    only: tuple[type[Exception], ...] = (Exception,)
    never: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        if not _is_count(self.attempts):
            raise ConfigurationError(f"Retry(attempts={self.attempts!r}): a task needs at least one attempt.")
        for name, types in (("only", self.only), ("never", self.never)):
            if not _are_errors(types):
                raise ConfigurationError(f"Retry({name}={types!r}): this is a tuple of exceptions, as (ValueError,).")

    def next_delay(self, failures: int, error: BaseException) -> float | None:
        """Say how many seconds to wait after this many failures, the last being `error`; None when it is final."""
        if failures >= self.attempts or not self.is_retryable(error):
            return None
        wait, asked = self.backoff.delay(failures), getattr(error, "retry_after", None)
        return max(wait, float(asked)) if asked is not None and _is_duration(asked) else wait

    def is_retryable(self, error: BaseException) -> bool:
        """Tell whether another try is worth it after such an error."""
        return isinstance(error, self.only) and not isinstance(error, self.never)
