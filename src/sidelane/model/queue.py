"""Queues, as an application declares them."""

import re
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

from sidelane.model.checks import is_count
from sidelane.model.errors import ConfigurationError
from sidelane.model.limit import LimitPolicy, validate_limits

DEFAULT_QUEUE = "default"

WEIGHTS = range(1, 1001)

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Queue:
    """A declared queue.

    `worker_concurrency`: how many of its jobs one worker process runs at once (None: as many as it has slots). `max_queued`: a
    submit is refused (503) while so many of its jobs are queued. `limits` apply to each of its jobs. `weight`: its share of a
    worker that cannot run all its queues at once. Raises `ConfigurationError`.
    """

    name: str
    worker_concurrency: int | None = None
    _: KW_ONLY
    max_queued: int | None = None
    limits: Sequence[LimitPolicy] = ()
    weight: int = 1

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(f"Queue({self.name!r}): a name is 1 to 64 letters, digits or any of '_.-'.")
        if self.worker_concurrency is not None and self.worker_concurrency < 1:
            raise ConfigurationError(
                f"Queue({self.name!r}, worker_concurrency={self.worker_concurrency}): at least 1 job at a time."
            )
        if self.max_queued is not None and not is_count(self.max_queued):
            raise ConfigurationError(
                f"Queue({self.name!r}, max_queued={self.max_queued!r}): at least 1 job may be queued."
            )
        if self.weight not in WEIGHTS or isinstance(self.weight, bool):
            raise ConfigurationError(
                f"Queue({self.name!r}, weight={self.weight!r}): a weight is a whole number, 1 to 1000."
            )
        invalid = validate_limits(self.limits)
        if invalid:
            raise ConfigurationError(f"Queue {self.name!r}: {invalid}")
