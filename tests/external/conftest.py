"""Servers, queues and lanes with external tasks for these tests."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from sidelane import Sidelane
from tests.callbacks.local_receivers import Receiver, receiving
from tests.transports.queues import new_queue, queue, queues

__all__ = ["new_queue", "queue", "queues"]


class AnalyseIn(BaseModel):
    audio: str
    words: int = 1


class Report(BaseModel):
    score: float
    remarks: list[str] = []


MakeLane = Callable[..., Sidelane]

JOBS_URL = "https://api.example.com/jobs"


@pytest.fixture
def make_lane(tmp_path: Path) -> MakeLane:
    """Return a function that makes a lane on a new SQLite file, whose external workers answer by HTTP."""

    def make(**settings: Any) -> Sidelane:
        chosen = {
            "lease_duration": 2.0,
            "jobs_url": JOBS_URL,
            "allow_private_callbacks": True,
            "secret": "a secret of these tests, and of nothing else",
            **settings,
        }
        return Sidelane(settings={"store": f"sqlite:///{tmp_path / 'jobs.db'}", **chosen})

    return make


@pytest.fixture
def lane(make_lane: MakeLane) -> Sidelane:
    return make_lane()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as listening:
        yield listening
