"""pytest fixture of a lane: `t = testing_fixture(lane)` in a conftest (needs pytest-asyncio)."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from sidelane.app import Sidelane
from sidelane.model.errors import MissingExtra
from sidelane.testing.harness import Harness, harness


def testing_fixture(lane: Sidelane, *, eager: bool = False) -> Callable[..., Any]:  # noqa: PT028 - no test
    """Return a fixture that opens the lane for each test, in the same way as `harness`. Raises `MissingExtra`."""
    try:
        import pytest_asyncio
    except ImportError as error:
        raise MissingExtra("This fixture needs pytest-asyncio: install sidelane[testing].") from error

    @pytest_asyncio.fixture
    async def opened() -> AsyncIterator[Harness]:
        async with harness(lane, eager=eager) as opened_lane:
            yield opened_lane

    return opened


testing_fixture.__test__ = False  # type: ignore[attr-defined] # pytest would collect it where it is imported
