"""What the tests of transports share."""

from tests.transports.pubsub import pubsub, pubsub_server

__all__ = ["pubsub", "pubsub_server"]
