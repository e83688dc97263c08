"""Fixtures: lanes on separate stores."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from sidelane import Queue, Sidelane
from tests.worker.process_tasks import lane as process_lane

MakeLane = Callable[..., Sidelane]


@pytest.fixture
def make_lane(tmp_path: Path) -> MakeLane:
    """Make a lane on a new SQLite file, with a short lease and settings of the test's choice."""

    def make(**settings: Any) -> Sidelane:
        queues = [Queue("chat"), Queue("gpu", worker_concurrency=1)]
        return Sidelane(
            queues=queues, store=f"sqlite:///{tmp_path / 'jobs.db'}", settings={"lease_duration": 2.0, **settings}
        )

    return make


@pytest.fixture
def lane(make_lane: MakeLane) -> Sidelane:
    return make_lane()


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Sidelane]:
    """The lane of tasks for child processes, open with one worker."""
    process_lane.configuration.settings.__dict__["store"] = f"sqlite:///{tmp_path / 'jobs.db'}"
    async with process_lane.open(workers=1):
        yield process_lane
