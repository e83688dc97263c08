"""The servers of these tests, and the lines that messages come in by."""

from tests.remote.lines import line, lines, new_line
from tests.transports.moto import moto
from tests.transports.pubsub import pubsub, pubsub_server

__all__ = ["line", "lines", "moto", "new_line", "pubsub", "pubsub_server"]
