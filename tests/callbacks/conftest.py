"""Receivers that listen, and lanes that may reach them."""

from collections.abc import AsyncIterator

import pytest

from tests.callbacks.receiving import Receiver, receiving


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as listening:
        yield listening
