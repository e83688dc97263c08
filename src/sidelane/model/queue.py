"""Queues: the named lines jobs wait in, as an application declares them."""

import re
from dataclasses import dataclass

from sidelane.model.errors import ConfigurationError

DEFAULT_QUEUE = "default"

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Queue:
    """A declared queue. `concurrency`: how many of its jobs one worker process runs at once (None: as many as it has slots)."""

    name: str
    concurrency: int | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(f"Queue({self.name!r}): a name is 1 to 64 letters, digits or any of '_.-'.")
        if self.concurrency is not None and self.concurrency < 1:
            raise ConfigurationError(f"Queue({self.name!r}, concurrency={self.concurrency}): at least 1 job at a time.")
