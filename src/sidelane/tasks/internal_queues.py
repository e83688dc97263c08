"""Side work: what a lane does beside its users' jobs, as jobs on queues of its own that never take a slot of theirs.

Every worker serves these queues, whichever others it was told to serve.
"""

from collections.abc import Mapping
from typing import TypeVar

from sidelane.model.errors import ConfigurationError
from sidelane.model.queue import Queue

CALLBACK_QUEUE = "sidelane.callbacks"
DISPATCH_QUEUE = "sidelane.sending"
FILE_QUEUE = "sidelane.files"
"""Callbacks; hand-overs on their way out; files whose jobs are gone."""

CALLBACK_TASK = "sidelane.callback"
FILE_CLEANUP_TASK = "sidelane.remove_files"
"""Internal tasks that calls add to their jobs as follow-ups, by the name they are registered under."""

INTERNAL_QUEUES = {
    queue.name: queue for queue in (Queue(CALLBACK_QUEUE, 500), Queue(DISPATCH_QUEUE, 100), Queue(FILE_QUEUE, 10))
}
"""With what one worker process does of each at once: they wait for others most of the time."""

INTERNAL_SLOTS = sum(queue.worker_concurrency or 0 for queue in INTERNAL_QUEUES.values())

INTERNAL_POLL_INTERVAL = 60.0
"""Seconds after which a worker looks for side work even without a hint: it costs an idle one next to nothing."""

INTERNAL_PREFIX = "sidelane."
"""What the names of Sidelane's own tasks and queues begin with."""

V = TypeVar("V")


def without_internal(named: Mapping[str, V]) -> dict[str, V]:
    """Leave out queues or tasks that are Sidelane's own, by their names."""
    return {name: value for name, value in named.items() if not name.startswith(INTERNAL_PREFIX)}


def check_not_internal(name: str) -> None:
    """Raise `ConfigurationError` where a user's queue or task has a name that is kept for Sidelane's own."""
    if name.startswith(INTERNAL_PREFIX):
        raise ConfigurationError(f"{name!r}: names that begin with {INTERNAL_PREFIX!r} are Sidelane's own.")
