"""HTTP receivers, and lanes that may reach them."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from sidelane import Queue, Sidelane
from tests.callbacks.local_receivers import Receiver, receiving

MakeLane = Callable[..., Sidelane]

OLD, NEW = "whsec_b2xkIHNlY3JldCBvZiB0aGVzZSB0ZXN0cw==", "whsec_bmV3IHNlY3JldCBvZiB0aGVzZSB0ZXN0cw=="


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as listening:
        yield listening


@pytest.fixture
def make_lane(tmp_path: Path) -> MakeLane:
    """Return a function that makes a lane that may reach 127.0.0.1."""

    def make(secrets: Any = None, **settings: Any) -> Sidelane:
        return Sidelane(
            queues=[Queue("chat")],
            store=f"sqlite:///{tmp_path / 'jobs.db'}",
            settings={"allow_private_callbacks": True, "lease_duration": 2.0, "shutdown_timeout": 0.1, **settings},
            secrets=secrets or {"be": NEW, "turning": [NEW, OLD]},
        )

    return make


@pytest.fixture
def lane(make_lane: MakeLane) -> Sidelane:
    return make_lane()
