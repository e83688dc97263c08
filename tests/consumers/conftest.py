"""Queues that messages of these tests are received from."""

from tests.transports.queues import new_queue, queue, queues

__all__ = ["new_queue", "queue", "queues"]
