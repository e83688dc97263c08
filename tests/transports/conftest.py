"""What the tests of transports share."""

from tests.transports.moto import moto
from tests.transports.pubsub import pubsub, pubsub_server

__all__ = ["moto", "pubsub", "pubsub_server"]
