"""Internal queues. Callbacks, dispatches, file cleanup and more run as separate jobs, which never take a slot of a user's job.

Every worker runs these jobs, whichever queues the worker was started for.
"""

from collections.abc import Mapping
from typing import TypeVar

from sidelane.model.errors import ConfigurationError
from sidelane.model.queue import Queue

CALLBACK_QUEUE = "sidelane.callbacks"
DISPATCH_QUEUE = "sidelane.sending"
FILE_QUEUE = "sidelane.files"
BULK_QUEUE = "sidelane.bulk"
MESSAGE_QUEUE = "sidelane.messages"
"""Queues of callbacks, of dispatches to external workers, of the cleanup of removed jobs' files, of bulk actions, and of messages
that consumers could not use."""

CALLBACK_TASK = "sidelane.callback"
FILE_CLEANUP_TASK = "sidelane.remove_files"
"""Names of the internal tasks that calls add to their jobs as follow-ups."""

BULK_TASK = "sidelane.bulk_action"
"""Name of the internal task that runs large bulk actions."""

INTERNAL_QUEUES = {
    queue.name: queue
    for queue in (
        Queue(CALLBACK_QUEUE, 500),
        Queue(DISPATCH_QUEUE, 100),
        Queue(FILE_QUEUE, 10),
        Queue(BULK_QUEUE, 2),
        Queue(MESSAGE_QUEUE, 10),
    )
}
"""Internal queues, each with the concurrency of one worker process. These jobs mostly wait for I/O."""

INTERNAL_SLOTS = sum(queue.worker_concurrency or 0 for queue in INTERNAL_QUEUES.values())

INTERNAL_POLL_INTERVAL = 60.0
"""Seconds after which a worker polls the internal queues without a notification."""

INTERNAL_PREFIX = "sidelane."
"""Prefix of the names of internal tasks and queues."""

V = TypeVar("V")


def without_internal(named: Mapping[str, V]) -> dict[str, V]:
    """Return a mapping by names of queues or tasks, without internal queues or tasks."""
    return {name: value for name, value in named.items() if not name.startswith(INTERNAL_PREFIX)}


def check_not_internal(name: str) -> None:
    """Raise `ConfigurationError` if the name of a user's queue or task is reserved for internal queues and tasks."""
    if name.startswith(INTERNAL_PREFIX):
        raise ConfigurationError(f"{name!r}: names that begin with {INTERNAL_PREFIX!r} are reserved.")
