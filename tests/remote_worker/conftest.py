"""Queues that jobs and replies of these tests travel on, and the lane that dispatches the jobs."""

from tests.external.conftest import make_lane
from tests.transports.queues import new_queue, queue, queues

__all__ = ["make_lane", "new_queue", "queue", "queues"]
