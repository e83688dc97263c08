"""When a failed attempt is tried again, and how long to wait before it."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from sidelane.model.errors import ConfigurationError


class Backoff(Protocol):
    """How long to wait after the n-th failure, in seconds."""

    def delay(self, failures: int) -> float: ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same wait each time, in seconds."""

    seconds: float

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

    def delay(self, failures: int) -> float:
        exponent = min(failures - 1, 64)  # keeps the power a finite number
        wait = min(self.first * self.factor**exponent, self.most)
        return wait * (1 + self.jitter * (self.random() - 0.5))


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a task may fail, how long it waits in between, and which errors are worth it.

    `attempts` counts the first one: 1 means that nothing is retried. Errors of `only` are retried, those of `never` are not.
    """

    attempts: int = 1
    backoff: Backoff = Exponential()
    only: tuple[type[Exception], ...] = (Exception,)
    never: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ConfigurationError(f"Retry(attempts={self.attempts}): a task needs at least one attempt.")

    def after(self, failures: int, error: BaseException) -> float | None:
        """Say how many seconds to wait after this many failures, the last being `error`; None when it is final."""
        if failures >= self.attempts or not isinstance(error, self.only) or isinstance(error, self.never):
            return None
        return self.backoff.delay(failures)
