<<<<<<< HEAD
"""What the tests of transports share."""

from tests.transports.pubsub import pubsub, pubsub_server

__all__ = ["pubsub", "pubsub_server"]
=======
"""The servers of the tests of transports."""

from tests.transports.moto import moto

__all__ = ["moto"]
>>>>>>> 12c9a0a (SQS carries messages, by tens, and meets the transport contract on a server that speaks it)
