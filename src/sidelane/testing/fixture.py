"""pytest fixture of a lane: `t = testing_fixture(lane)` in a conftest (needs pytest-asyncio)."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from sidelane.app import Sidelane
from sidelane.model.errors import MissingExtra
from sidelane.testing.harness import Harness, harness


def testing_fixture(lane: Sidelane) -> Callable[..., Any]:
    """Return a fixture that opens the lane with an in-memory store for each test. Raises `MissingExtra`."""
    try:
        import pytest_asyncio
    except ImportError as error:
        raise MissingExtra("This fixture needs pytest-asyncio: install sidelane[testing].") from error

    @pytest_asyncio.fixture
    async def opened() -> AsyncIterator[Harness]:
        async with harness(lane) as opened_lane:
            yield opened_lane

    return opened
