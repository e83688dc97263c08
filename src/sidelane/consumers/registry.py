"""Consumer registry: the consumers that are declared on one lane, by name."""

from collections.abc import Callable, Iterator

from sidelane.client.client import Client
from sidelane.consumers.consumer import Consumer, MessageHandler
from sidelane.consumers.put_aside import declare_put_aside
from sidelane.model.errors import ConfigurationError
from sidelane.tasks.task import Lane
from sidelane.transports.contract import Endpoint


class ConsumerRegistry:
    """The consumers of one lane. `client` returns the client of the open lane."""

    def __init__(self, lane: Lane, client: Callable[[], Client]) -> None:
        self._lane = lane
        self._client = client
        self._named: dict[str, Consumer] = {}

    def __iter__(self) -> Iterator[Consumer]:
        return iter(self._named.values())

    def declare(self, endpoint: Endpoint, name: str | None, function: MessageHandler) -> Consumer:
        """Declare a consumer. Raises `ConfigurationError` if its name is taken."""
        consumer = Consumer(function, name or function.__name__, endpoint, self._lane.registry)
        if consumer.name in self._named:
            raise ConfigurationError(f"This lane already has a consumer {consumer.name!r}. Set name=… on one of them.")
        declare_put_aside(self._lane, consumer, self._client)
        self._named[consumer.name] = consumer
        return consumer
