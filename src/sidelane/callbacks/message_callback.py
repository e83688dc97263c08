"""MessageCallback: a callback by a message to a queue or topic, as a call declares it."""

from dataclasses import dataclass

from sidelane.callbacks.webhook import FINISHED_STATES, On, check_states
from sidelane.model.errors import ArgumentsError
from sidelane.model.job import State
from sidelane.model.settings import Settings
from sidelane.tasks.registry import PayloadBuilder
from sidelane.transports.endpoints import StoredEndpoint

MAX_NAME_LENGTH = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageCallback:
    """Sends how a job ended to an SQS queue or a Pub/Sub topic, as a CloudEvent.

    `body`, a function marked with `@lane.callback_payload`, returns a message in the receiver's own format instead. `on` selects
    which ends are reported. With `progress`, progress is reported too, while the job runs. Raises `ArgumentsError`.
    """

    to: StoredEndpoint
    body: PayloadBuilder | None = None
    on: On = "end"
    progress: bool = False

    def __post_init__(self) -> None:
        check_states(self.on, self.body)
        if not isinstance(self.to, StoredEndpoint):
            raise ArgumentsError(f"MessageCallback(to={self.to!r}): to is Sqs(…) or PubSub(…).")
        if not self.to.can_send:
            raise ArgumentsError(f"MessageCallback(to={self.to}): this cannot be sent to. Use a queue or a topic.")

    @property
    def states(self) -> frozenset[State]:
        """The states that are reported."""
        return FINISHED_STATES[self.on]

    def destination(self, settings: Settings) -> tuple[str, StoredEndpoint]:
        """Return the name of the queue or topic, and the target."""
        return str(self.to)[:MAX_NAME_LENGTH], self.to
