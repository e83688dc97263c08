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

    `worker_concurrency` is how many of the queue's jobs one worker process runs concurrently (None: as many as it has slots). With
    `max_queued`, a submit is refused (503) while that number of jobs is queued. `limits` apply to each job of the queue. `weight`
    is the queue's share of a worker that has too few slots for all its queues. Raises `ConfigurationError`.
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
