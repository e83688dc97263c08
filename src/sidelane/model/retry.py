"""Retry policies: whether a failed attempt is retried, and after how long."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from sidelane.model.checks import is_count, is_duration
from sidelane.model.durations import Duration, to_seconds
from sidelane.model.errors import ConfigurationError


class Backoff(Protocol):
    """The seconds to wait after the n-th failure."""

    def delay(self, failures: int) -> float: ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """Wait the same number of seconds each time."""

    seconds: Duration

    def __post_init__(self) -> None:
        if not is_duration(to_seconds(self.seconds)):
            raise ConfigurationError(f"Fixed({self.seconds!r}): this is a number of seconds, not below 0.")

    def delay(self, failures: int) -> float:
        return to_seconds(self.seconds)


@dataclass(frozen=True, slots=True)
class Exponential:
    """Wait `first` seconds, then `factor` times as long each time, up to `max_delay`, spread by `jitter` (0.2: ±10 %)."""

    first: Duration = 1.0
    factor: float = 2.0
    max_delay: Duration = 300.0
    jitter: float = 0.2
    random: Callable[[], float] = field(default=random.random, repr=False)

    def __post_init__(self) -> None:
        for name, seconds in (("first", self.first), ("max_delay", self.max_delay)):
            if not is_duration(to_seconds(seconds)):
                raise ConfigurationError(f"Exponential({name}={seconds!r}): this is a number of seconds, not below 0.")
        if not is_duration(self.factor) or self.factor < 1:
            raise ConfigurationError(f"Exponential(factor={self.factor!r}): this is a number, at least 1.")
        if not is_duration(self.jitter) or self.jitter > 2:
            raise ConfigurationError(f"Exponential(jitter={self.jitter!r}): this is a number from 0 to 2 (±100 %).")

    def delay(self, failures: int) -> float:
        exponent = min(failures - 1, 64)  # keeps the power a finite number
        wait = min(to_seconds(self.first) * self.factor**exponent, to_seconds(self.max_delay))
        return wait * (1 + self.jitter * (self.random() - 0.5))


@dataclass(frozen=True, slots=True)
class Delays:
    """Wait the n-th number of seconds after the n-th failure, then always the last number, spread by `jitter`."""

    seconds: tuple[Duration, ...]
    jitter: float = 0.2
    random: Callable[[], float] = field(default=random.random, repr=False)

    def __post_init__(self) -> None:
        if not _are_durations(self.seconds):
            raise ConfigurationError(
                f"Delays({self.seconds!r}): this is a tuple of numbers of seconds, not below 0, e.g. (5, 60)."
            )
        if not is_duration(self.jitter) or self.jitter > 2:
            raise ConfigurationError(f"Delays(jitter={self.jitter!r}): this is a number from 0 to 2 (±100 %).")

    def delay(self, failures: int) -> float:
        wait = to_seconds(self.seconds[min(failures, len(self.seconds)) - 1])
        return wait * (1 + self.jitter * (self.random() - 0.5))


@dataclass(frozen=True, slots=True)
class Retry:
    """Policy for retries: the number of attempts, the waits between them, and the errors that are retried.

    `attempts` includes the first attempt, so 1 means no retry. Errors of `only` are retried, and those of `never` are not. After an
    error with an attribute `retry_after`, the wait is at least that long.
    """

    attempts: int = 1
    backoff: Backoff = Exponential()
    only: tuple[type[Exception], ...] = (Exception,)
    never: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        if not is_count(self.attempts):
            raise ConfigurationError(f"Retry(attempts={self.attempts!r}): a task needs at least one attempt.")
        if not callable(getattr(self.backoff, "delay", None)):
            raise ConfigurationError(
                f"Retry(backoff={self.backoff!r}): this is Fixed(…), Exponential(…) or Delays(…), e.g. backoff=Fixed(0.5)."
            )
        for name, types in (("only", self.only), ("never", self.never)):
            if not _are_errors(types):
                raise ConfigurationError(f"Retry({name}={types!r}): this is a tuple of exceptions, e.g. (ValueError,).")

    def next_delay(self, failures: int, error: BaseException) -> float | None:
        """Return the seconds to wait after this number of failures, or None if the last failure, `error`, is final."""
        if failures >= self.attempts or not self.is_retryable(error):
            return None
        wait = self.backoff.delay(failures)
        retry_after: object = to_seconds(getattr(error, "retry_after", None))
        return max(wait, retry_after) if is_duration(retry_after) else wait

    def is_retryable(self, error: BaseException) -> bool:
        """Return whether this error is retried."""
        return isinstance(error, self.only) and not isinstance(error, self.never)


def _are_durations(seconds: object) -> bool:
    return isinstance(seconds, tuple) and len(seconds) > 0 and all(is_duration(to_seconds(each)) for each in seconds)


def _are_errors(types: object) -> bool:
    return isinstance(types, tuple) and all(
        isinstance(each, type) and issubclass(each, BaseException) for each in types
    )
