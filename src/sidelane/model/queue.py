"""Queues, as an application declares them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass

from sidelane.model.checks import is_count, is_duration
from sidelane.model.durations import Duration, to_seconds
from sidelane.model.errors import ConfigurationError
from sidelane.model.limit import LimitPolicy, validate_limits

DEFAULT_QUEUE = "default"

INTERNAL_PREFIX = "sidelane."
"""Prefix of the names of internal tasks and queues, whose jobs are no user's."""

WEIGHTS = range(1, 1001)

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Queue:
    """A declared queue.

    `worker_concurrency` is how many of the queue's jobs one worker process runs concurrently (None: as many as it has slots). With
    `max_queued`, a submit is refused (503) while that number of jobs is queued. `limits` apply to each job of the queue. `weight`
    is the queue's share of a worker that has too few slots for all its queues. `target_wait`, in seconds or as a timedelta, is how
    long a job may wait before somebody should act (None: a queue of batch jobs). Raises `ConfigurationError`.
    """

    name: str
    worker_concurrency: int | None = None
    _: KW_ONLY
    max_queued: int | None = None
    limits: Sequence[LimitPolicy] = ()
    weight: int = 1
    target_wait: Duration | None = None

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
        if self.target_wait is not None and not _is_target_wait(self.target_wait):
            raise ConfigurationError(
                f"Queue({self.name!r}, target_wait={self.target_wait!r}): a target is a number of seconds or a timedelta, above 0."
            )
        invalid = validate_limits(self.limits)
        if invalid:
            raise ConfigurationError(f"Queue {self.name!r}: {invalid}")


def target_waits(queues: Iterable[Queue]) -> dict[str, float]:
    """Return the target wait in seconds of each queue that has one, by the queue's name."""
    return {queue.name: to_seconds(queue.target_wait) for queue in queues if queue.target_wait is not None}


def _is_target_wait(value: Duration) -> bool:
    seconds = to_seconds(value)
    return is_duration(seconds) and not isinstance(seconds, bool) and seconds > 0
