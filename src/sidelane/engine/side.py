"""Side work: what a lane does beside its users' jobs, as jobs on queues of its own that never take a slot of theirs.

Every worker serves these queues, whichever others it was told to serve.
"""

from collections.abc import Mapping
from typing import TypeVar

from sidelane.engine.claiming import Share
from sidelane.engine.slots import Slots
from sidelane.engine.turns import Turns
from sidelane.model.errors import ConfigurationError
from sidelane.model.queue import Queue

CALLBACKS = "sidelane.callbacks"
SENDING = "sidelane.sending"
FILES = "sidelane.files"
"""Callbacks; hand-overs on their way out; files whose jobs are gone."""

SIDE_QUEUES = {queue.name: queue for queue in (Queue(CALLBACKS, 500), Queue(SENDING, 100), Queue(FILES, 10))}
"""With what one worker process does of each at once: they wait for others most of the time."""

SIDE_SLOTS = sum(queue.concurrency or 0 for queue in SIDE_QUEUES.values())

SIDE_SILENCE = 60.0
"""Seconds after which a worker looks for side work even without a hint: it costs an idle one next to nothing."""

OWN = "sidelane."
"""What the names of Sidelane's own tasks and queues begin with."""

V = TypeVar("V")


def side_share() -> Share:
    """Give the share of a worker that does side work."""
    queues = {name: queue.concurrency for name, queue in SIDE_QUEUES.items()}
    return Share(Slots(SIDE_SLOTS, queues), Turns(dict.fromkeys(queues, 1)), SIDE_SILENCE)


def users(named: Mapping[str, V]) -> dict[str, V]:
    """Leave out queues or tasks that are Sidelane's own, by their names."""
    return {name: value for name, value in named.items() if not name.startswith(OWN)}


def check_name(name: str) -> None:
    """Raise `ConfigurationError` where a user's queue or task has a name that is kept for Sidelane's own."""
    if name.startswith(OWN):
        raise ConfigurationError(f"{name!r}: names that begin with {OWN!r} are Sidelane's own.")
