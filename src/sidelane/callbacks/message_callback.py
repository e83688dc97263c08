"""Notices: telling others of a job by a message on a queue or topic of theirs. A value: nothing is sent by making one."""

from dataclasses import dataclass

from sidelane.callbacks.webhook import FINISHED_STATES, On, check_states
from sidelane.model.errors import ArgumentsError
from sidelane.model.job import State
from sidelane.model.settings import Settings
from sidelane.tasks.registry import PayloadBuilder
from sidelane.transports.endpoints import Address, PubSub

MAX_NAME_LENGTH = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageCallback:
    """Sends how a job ended to an SQS queue or a Pub/Sub topic, as a CloudEvent.

    `body`, a function marked with `@lane.callback_body`, makes a message of the receiver's own form instead. `on`: which ends are
    told; `progress`: how far the job is, too, while it runs. Raises `ArgumentsError`.
    """

    to: Address
    body: PayloadBuilder | None = None
    on: On = "end"
    progress: bool = False

    def __post_init__(self) -> None:
        check_states(self.on, self.body)
        if not isinstance(self.to, Address):
            raise ArgumentsError(f"Notice(to={self.to!r}): this is Sqs(…) or PubSub(…).")
        if isinstance(self.to, PubSub) and self.to.topic is None:
            raise ArgumentsError("Notice(to=PubSub(…)): this takes a topic to send to.")

    @property
    def states(self) -> frozenset[State]:
        """The ends that are told."""
        return FINISHED_STATES[self.on]

    def destination(self, settings: Settings) -> tuple[str, Address]:
        """Return its queue's or topic's name, and its target."""
        return str(self.to)[:MAX_NAME_LENGTH], self.to
